//! OpenMetrics text as Prometheus text 0.0.4.

use std::collections::HashMap;

/// Names counters as their samples are named, and leaves out exemplars, units and the mark at the end.
pub(crate) fn without_openmetrics(text: &str) -> String {
    let kinds: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let mut result = String::with_capacity(text.len());
    for line in text.lines() {
        let words = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        match words {
            Some((keyword @ ("TYPE" | "HELP"), rest)) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let (suffix, rest) = match (kinds.get(name).copied(), keyword) {
                    (Some("counter"), _) => ("_total", rest),
                    (Some("info"), "TYPE") => ("_info", "gauge"),
                    (Some("info"), _) => ("_info", rest),
                    _ => ("", rest),
                };
                result.push_str(&format!("# {keyword} {name}{suffix} {rest}\n"));
            }
            None if !line.starts_with('#') => {
                let sample = &line[..end_of_sample(line)];
                result.push_str(sample);
                result.push('\n');
            }
            _ => {}
        }
    }
    result
}

/// Where the exemplar begins, if there is one: behind the labels, whose values may hold anything.
fn end_of_sample(line: &str) -> usize {
    let (mut is_quoted, mut is_escaped, mut behind_labels) = (false, false, 0);
    if line.split(' ').next().is_some_and(|name| name.contains('{')) {
        for (at, byte) in line.bytes().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b'}' if !is_quoted => {
                    behind_labels = at;
                    break;
                }
                _ => {}
            }
        }
    }
    line[behind_labels..].find(" # {").map_or(line.len(), |at| behind_labels + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_named_as_their_samples_and_exemplars_left_out() {
        let openmetrics = concat!(
            "# HELP a Help.\n# TYPE a counter\na_total{x=\"1\"} 2 # {check=\"7\"} 1.0\n",
            "# HELP b Help.\n# TYPE b info\nb_info{v=\"} # {\\\"\"} 1\n",
            "# HELP c_seconds Help.\n# TYPE c_seconds gauge\n# UNIT c_seconds seconds\nc_seconds 1.5\n# EOF\n",
        );
        let expected = concat!(
            "# HELP a_total Help.\n# TYPE a_total counter\na_total{x=\"1\"} 2\n",
            "# HELP b_info Help.\n# TYPE b_info gauge\nb_info{v=\"} # {\\\"\"} 1\n",
            "# HELP c_seconds Help.\n# TYPE c_seconds gauge\nc_seconds 1.5\n",
        );
        assert_eq!(without_openmetrics(openmetrics), expected);
    }
}
