//! Keeps what a peer does again and again from filling the log.

/// How many are told one by one.
const FEW: u64 = 8;

/// Counts what repeats on one connection. The first few are told, then the 16th, the 32nd, and so
/// on.
#[derive(Debug, Default)]
pub(crate) struct Repeats(u64);

impl Repeats {
    /// It has happened again. `Some` when that is to be told: how often it has happened.
    pub(crate) fn worth_telling(&mut self) -> Option<u64> {
        self.0 = self.0.saturating_add(1);
        (self.0 <= FEW || self.0.is_power_of_two()).then_some(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_fewer_are_told() {
        let mut repeats = Repeats::default();
        let told: Vec<u64> = (0..100).filter_map(|_| repeats.worth_telling()).collect();
        assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64]);
    }
}
