use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn seat(name: &str, zone: &str, capacity: u16) -> Seat {
    Seat { name: NodeName::new(name).unwrap(), zone: zone.into(), capacity }
}

/// Up to twelve nodes of up to four zones.
fn seats() -> impl Strategy<Value = Vec<Seat>> {
    let one = (0_u8..30, 0_u8..4, 1_u16..6);
    proptest::collection::vec(one, 1..12).prop_map(|nodes| {
        let mut seen = BTreeSet::new();
        let new = nodes.into_iter().filter(|(number, ..)| seen.insert(*number));
        new.map(|(number, zone, capacity)| seat(&format!("n{number}"), &format!("z{zone}"), capacity))
            .collect()
    })
}

fn slots() -> impl Strategy<Value = Vec<Slot>> {
    proptest::collection::vec((0..Slot::COUNT).prop_map(|number| Slot::new(number).unwrap()), 1..40)
}

fn first(assignment: &Assignment, slot: Slot, opinions: u8) -> Vec<NodeName> {
    assignment.first(slot, opinions).cloned().collect()
}

proptest! {
    /// Of the nodes that give opinions of a slot a join replaces at most one, by the joiner.
    #[test]
    fn slots_move_only_to_the_joiner(seats in seats(), zone in 0_u8..5, capacity in 1_u16..6, slots in slots(), opinions in 1_u8..6) {
        let joiner = seat("joiner", &format!("z{zone}"), capacity);
        let before = Assignment::new(seats.clone());
        let after = Assignment::new(seats.into_iter().chain([joiner.clone()]));
        for slot in slots {
            let old: BTreeSet<_> = first(&before, slot, opinions).into_iter().collect();
            let new: BTreeSet<_> = first(&after, slot, opinions).into_iter().collect();
            let came: Vec<_> = new.difference(&old).collect();
            let went = old.difference(&new).count();
            prop_assert!(came.is_empty() || came == [&joiner.name], "{came:?}");
            prop_assert!(went <= came.len());
        }
    }

    #[test]
    fn zones_spread_and_fewer_opinions_are_the_beginning(seats in seats(), slots in slots(), opinions in 1_u8..6) {
        let assignment = Assignment::new(seats.clone());
        let zone = |name: &NodeName| seats.iter().find(|seat| seat.name == *name).unwrap().zone.clone();
        let zones = seats.iter().map(|seat| &seat.zone).collect::<BTreeSet<_>>().len();
        for slot in slots {
            let chosen = first(&assignment, slot, opinions);
            let used = chosen.iter().map(zone).collect::<BTreeSet<_>>().len();
            prop_assert_eq!(used, chosen.len().min(zones));
            let more = first(&assignment, slot, opinions + 1);
            prop_assert_eq!(&more[..chosen.len()], &chosen[..]);
        }
    }

    #[test]
    fn the_order_of_members_does_not_matter(seats in seats(), slots in slots(), turn in 0_usize..12) {
        let mut turned = seats.clone();
        turned.rotate_left(turn % seats.len());
        turned.reverse();
        let (one, other) = (Assignment::new(seats), Assignment::new(turned));
        for slot in slots {
            prop_assert_eq!(first(&one, slot, 12), first(&other, slot, 12));
        }
    }

    #[test]
    fn the_logarithm_is_right(draw: u64) {
        #[allow(clippy::cast_precision_loss, reason = "compared within a tolerance")]
        let (exact, got) = (64.0 - (draw.max(1) as f64).log2(), minus_log2(draw) as f64 / 4_294_967_296.0);
        prop_assert!((exact - got).abs() < 1e-9 && got <= 64.0, "{exact} {got}");
        prop_assert!(draw == u64::MAX || minus_log2(draw) >= minus_log2(draw + 1));
    }
}

/// How many slots each node is the first of.
fn shares(assignment: &Assignment) -> Vec<(String, u32)> {
    let mut shares = BTreeMap::new();
    for slot in Slot::all() {
        for name in assignment.first(slot, 1) {
            *shares.entry(name.to_string()).or_default() += 1;
        }
    }
    shares.into_iter().collect()
}

/// Ten nodes have a tenth each, and an eleventh takes an eleventh, within a few standard
/// deviations.
#[test]
fn a_join_moves_its_share_and_no_more() {
    let ten: Vec<Seat> = (0..10).map(|number| seat(&format!("lb{number}"), "", 1)).collect();
    let before = Assignment::new(ten.clone());
    for (name, share) in shares(&before) {
        assert!((1638 - 160..1638 + 160).contains(&share), "{name}: {share}");
    }
    let after = Assignment::new(ten.into_iter().chain([seat("lb10", "", 1)]));
    let moved = Slot::all().filter(|slot| first(&before, *slot, 1) != first(&after, *slot, 1)).count();
    assert!((1489 - 150..1489 + 150).contains(&moved), "{moved}");
}

#[test]
fn capacity_is_a_weight() {
    let assignment = Assignment::new([seat("a", "", 1), seat("b", "", 2), seat("c", "", 5)]);
    for ((name, share), expected) in shares(&assignment).into_iter().zip([2048, 4096, 10_240]) {
        assert!(share.abs_diff(expected) < 250, "{name}: {share}, {expected}");
    }
}

/// These are the same for ever: a program that draws differently must have another number of its
/// algorithm.
#[test]
fn draws_never_change() {
    let name = NodeName::new("lb1").unwrap();
    assert_eq!((mix(0), mix(1)), (0xe220_a839_7b1d_cdaf, 0x910a_2dec_8902_5cc1));
    assert_eq!(minus_log2(1 << 63), 1 << 32);
    assert_eq!(minus_log2(u64::MAX), 1);
    assert_eq!(minus_log2(0), 64 << 32);
    let seats = ["lb1", "lb2", "lb3", "lb4"].map(|name| seat(name, if name < "lb3" { "a" } else { "b" }, 1));
    let assignment = Assignment::new(seats);
    let orders: Vec<String> = [0, 1, 2, 16_383]
        .map(|slot| {
            let order = assignment.order(Slot::new(slot).unwrap());
            order.iter().map(|seat| assignment.name(*seat).as_str()[2..].to_owned()).collect()
        })
        .into();
    assert_eq!(
        (format!("{:x}", seed(&name)), orders.join(" ")),
        ("bd48c7d398cbc81d".into(), "1324 4123 1423 4123".into())
    );
}
