use super::*;

const TCP: &str = r#""interval":"5s","timeout":"1s","checker_type":"tcp","ip":"192.0.2.1""#;

/// A check on a port, as JSON.
fn check(id: u64, port: u16) -> String {
    format!(r#"{{"id":{id},{TCP},"port":{port}}}"#)
}

fn entries(checks: &[String]) -> Vec<CheckEntry> {
    checks.iter().map(|json| hc_wire::parse_check(json)).collect()
}

fn part(generation: Option<u64>, part: Option<u32>, parts: Option<u32>, checks: &[String]) -> UpdateConfigs {
    UpdateConfigs { configs: entries(checks), generation, part, parts }
}

fn whole(generation: u64, checks: &[String]) -> UpdateConfigs {
    part(Some(generation), None, None, checks)
}

fn delta(generation: u64, base: u64, upsert: &[String], remove: &[u64]) -> UpdateDelta {
    let remove = remove.iter().copied().map(CheckId).collect();
    UpdateDelta { generation, base, upsert: entries(upsert), remove }
}

fn ids(checks: &[(CheckId, Arc<CheckSpec>)]) -> Vec<u64> {
    checks.iter().map(|(id, _)| id.0).collect()
}

/// What came of it, in short.
#[derive(Debug, PartialEq)]
enum Short {
    Nothing,
    Full(Option<u64>, Vec<u64>),
    Delta(Option<u64>, Vec<u64>, Vec<u64>),
    Ask(String),
    Refuse(String),
}

fn short(assembled: Assembled) -> Short {
    match assembled {
        Assembled::Nothing => Short::Nothing,
        Assembled::Set(SetChange::Full { generation, checks }, _) => Short::Full(generation, ids(&checks)),
        Assembled::Set(SetChange::Renewal { .. }, _) => panic!("nothing is remembered"),
        Assembled::Set(SetChange::Delta { generation, upsert, remove }, _) => {
            Short::Delta(generation, ids(&upsert), remove.into_iter().map(|id| id.0).collect())
        }
        Assembled::Ask(reason) => Short::Ask(reason),
        Assembled::Refuse(error) => Short::Refuse(error.message),
    }
}

fn assembly() -> Assembly {
    Assembly::new(1000)
}

#[test]
fn a_whole_set_takes_effect_at_once_and_an_empty_one_is_real() {
    let mut assembly = assembly();
    assert_eq!(short(assembly.configs(whole(5, &[check(1, 80)]))), Short::Full(Some(5), vec![1]));
    assert_eq!(short(assembly.configs(whole(6, &[]))), Short::Full(Some(6), vec![]));
    let unnamed = part(None, None, None, &[check(1, 80)]);
    assert_eq!(short(assembly.configs(unnamed)), Short::Full(None, vec![1]));
}

#[test]
fn a_set_in_parts_takes_effect_with_its_last_part() {
    let mut assembly = assembly();
    let send = |n, id| part(Some(5), Some(n), Some(3), &[check(id, 80)]);
    assert_eq!(short(assembly.configs(send(1, 10))), Short::Nothing);
    assert_eq!(short(assembly.configs(send(2, 11))), Short::Nothing);
    assert_eq!(short(assembly.configs(send(3, 12))), Short::Full(Some(5), vec![10, 11, 12]));
    assert_eq!(short(assembly.delta(delta(6, 5, &[], &[10]))), Short::Delta(Some(6), vec![], vec![10]));
}

#[test]
fn part_one_discards_what_is_not_whole() {
    let mut assembly = assembly();
    assert_eq!(short(assembly.configs(part(Some(5), Some(1), Some(3), &[check(1, 80)]))), Short::Nothing);
    assert_eq!(short(assembly.configs(part(Some(6), Some(1), Some(2), &[check(2, 80)]))), Short::Nothing);
    let last = part(Some(6), Some(2), Some(2), &[check(3, 80)]);
    assert_eq!(short(assembly.configs(last)), Short::Full(Some(6), vec![2, 3]));
    // The same generation again from its beginning.
    for _ in 0..2 {
        assert_eq!(short(assembly.configs(part(Some(7), Some(1), Some(2), &[check(1, 80)]))), Short::Nothing);
    }
    assert_eq!(short(assembly.configs(part(Some(7), Some(2), Some(2), &[]))), Short::Full(Some(7), vec![1]));
}

#[test]
fn a_missing_part_is_asked_for_once() {
    let mut assembly = assembly();
    let send = |generation, n| part(Some(generation), Some(n), Some(4), &[check(u64::from(n), 80)]);
    assembly.configs(send(5, 1));
    let reason = "part 3 of 4 of set 5 came without the parts before it".to_owned();
    assert_eq!(short(assembly.configs(send(5, 3))), Short::Ask(reason));
    assert_eq!(short(assembly.configs(send(5, 4))), Short::Nothing);
    // The answer to the question.
    for n in 1..=3 {
        assert_eq!(short(assembly.configs(send(6, n))), Short::Nothing);
    }
    assert_eq!(short(assembly.configs(send(6, 4))), Short::Full(Some(6), vec![1, 2, 3, 4]));
    // The parts may not differ in number either.
    assembly.configs(send(7, 1));
    let reason = "part 2 of 2 of set 7 came without the parts before it".to_owned();
    assert_eq!(short(assembly.configs(part(Some(7), Some(2), Some(2), &[]))), Short::Ask(reason));
}

#[test]
fn parts_that_make_no_sense_are_refused() {
    let mut assembly = assembly();
    for (n, of, text) in [
        (Some(0), Some(1), "part: 0 of 1 makes no sense"),
        (Some(3), Some(2), "part: 3 of 2 makes no sense"),
        (Some(1), None, "part: 1 of none makes no sense"),
        (None, Some(2), "part: none of 2 makes no sense"),
    ] {
        assert_eq!(short(assembly.configs(part(Some(5), n, of, &[]))), Short::Refuse(text.to_owned()));
    }
    let unnamed = part(None, Some(1), Some(2), &[]);
    let many = short(Assembly::new(10).configs(part(Some(1), Some(1), Some(u32::MAX), &[])));
    assert_eq!(many, Short::Refuse("parts: 4294967295 of one set are more than 1024".to_owned()));
    let text = "generation: a set in parts needs one".to_owned();
    assert_eq!(short(assembly.configs(unnamed)), Short::Refuse(text));
}

#[test]
fn a_set_without_bounds_is_refused_once() {
    let mut assembly = Assembly::new(3);
    let send = |n| part(Some(5), Some(n), Some(4), &[check(2 * u64::from(n), 80), check(1, 80)]);
    assert_eq!(short(assembly.configs(send(1))), Short::Nothing);
    let text = "configs: more than 3 checks in a set".to_owned();
    assert_eq!(short(assembly.configs(send(2))), Short::Refuse(text));
    assert_eq!(short(assembly.configs(send(3))), Short::Nothing);
    assert_eq!(short(assembly.configs(whole(6, &[]))), Short::Full(Some(6), vec![]));
}

#[test]
fn a_delta_needs_its_base() {
    let mut assembly = assembly();
    let text = "set 4, which the delta to set 5 builds upon, is not in effect";
    assert_eq!(short(assembly.delta(delta(5, 4, &[], &[]))), Short::Ask(text.to_owned()));
    // Asked once, however many follow.
    assert_eq!(short(assembly.delta(delta(6, 5, &[], &[]))), Short::Nothing);
    assembly.configs(whole(7, &[check(1, 80)]));
    let change = delta(8, 7, &[check(2, 80)], &[1]);
    assert_eq!(short(assembly.delta(change)), Short::Delta(Some(8), vec![2], vec![1]));
    let text = "set 7, which the delta to set 9 builds upon, is not in effect";
    assert_eq!(short(assembly.delta(delta(9, 7, &[], &[]))), Short::Ask(text.to_owned()));
    // Nothing builds upon a set without a name.
    assembly.configs(part(None, None, None, &[]));
    assert!(matches!(assembly.delta(delta(10, 8, &[], &[])), Assembled::Ask(_)));
}

/// Deltas for ever are no way around the limit; a whole set says how many checks there are.
#[test]
fn deltas_beyond_the_limit_are_answered_by_asking_for_the_whole_set() {
    let mut assembly = Assembly::new(3);
    assembly.configs(whole(5, &[check(1, 80), check(2, 80)]));
    assert_eq!(
        short(assembly.delta(delta(6, 5, &[check(3, 80)], &[1]))),
        Short::Delta(Some(6), vec![3], vec![1])
    );
    let text = "set 6 may have grown above 3 checks by deltas";
    assert_eq!(short(assembly.delta(delta(7, 6, &[check(4, 80)], &[]))), Short::Ask(text.to_owned()));
    assert_eq!(short(assembly.delta(delta(8, 7, &[check(5, 80)], &[]))), Short::Nothing);
    assembly.configs(whole(9, &[check(2, 80), check(3, 80)]));
    assert_eq!(
        short(assembly.delta(delta(10, 9, &[check(4, 80)], &[]))),
        Short::Delta(Some(10), vec![4], vec![])
    );
}

#[test]
fn a_delta_does_not_build_upon_a_set_that_is_not_whole() {
    let mut assembly = assembly();
    assembly.configs(part(Some(5), Some(1), Some(2), &[]));
    assert!(matches!(assembly.delta(delta(6, 5, &[], &[])), Assembled::Ask(_)));
}

#[test]
fn what_is_invalid_comes_beside_what_changes() {
    let mut assembly = assembly();
    assembly.configs(whole(5, &[]));
    let bad = r#"{"id":3,"interval":"0s"}"#.to_owned();
    let change = delta(6, 5, &[check(1, 80), bad], &[1, 2]);
    assert_eq!(short(assembly.delta(change)), Short::Delta(Some(6), vec![1], vec![1, 2]));
}

#[test]
fn what_has_no_id_is_rejected_without_one() {
    let set = ["7".to_owned(), check(1, 80), format!("{{{TCP},\"port\":80}}")];
    let Assembled::Set(change, rejections) = assembly().configs(whole(5, &set)) else { panic!() };
    assert_eq!(short(Assembled::Set(change, Vec::new())), Short::Full(Some(5), vec![1]));
    assert!(rejections.iter().all(|rejection| rejection.id.is_none()));
    assert_eq!(rejections[1].reason, "id: missing");
}
