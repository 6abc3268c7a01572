//! Figures of several rounds.

/// The value below which `percent` of the others lie (nearest rank). Sorts.
pub(crate) fn percentile(values: &mut [f64], percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank within the length")]
    let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The middle value; the lower one of two.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(&mut values.to_vec(), 50.0)
}

/// The median and the extremes, as `1.29 (1.20 to 1.31)`.
pub(crate) fn spread(values: &[f64], decimals: usize) -> String {
    let mut sorted = values.to_vec();
    let middle = percentile(&mut sorted, 50.0);
    match &sorted[..] {
        [] => "–".to_owned(),
        [one] => format!("{one:.decimals$}"),
        [first, .., last] => format!("{middle:.decimals$} ({first:.decimals$} to {last:.decimals$})"),
    }
}

/// The first over the second, round by round: what the machine's mood does to both cancels out.
pub(crate) fn ratios(values: &[f64], to: &[f64]) -> Vec<f64> {
    values.iter().zip(to).map(|(value, to)| value / to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_one_of_the_values() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn percentiles_take_the_nearest_rank() {
        let mut values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut values, 99.0), 99.0);
        assert_eq!(percentile(&mut values, 100.0), 100.0);
        assert_eq!(percentile(&mut values, 0.0), 1.0);
    }

    #[test]
    fn a_spread_names_the_extremes() {
        assert_eq!(spread(&[2.0, 1.0, 4.0], 1), "2.0 (1.0 to 4.0)");
        assert_eq!(spread(&[1.5], 2), "1.50");
        assert_eq!(spread(&[], 2), "–");
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(ratios(&[2.0, 9.0], &[1.0, 3.0]), [2.0, 3.0]);
    }
}
