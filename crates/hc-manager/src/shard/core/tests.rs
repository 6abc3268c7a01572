use super::*;

/// Beside its record a check has 8 bytes of timer, an entry of 12 bytes in the heap (both doubled
/// at worst, while their vectors grow), and its spec, which the registry and the view share.
#[test]
fn a_check_at_rest_is_small() {
    assert!(size_of::<Option<Record>>() <= 112, "{}", size_of::<Option<Record>>());
    assert!(size_of::<CheckSpec>() <= 40, "{}", size_of::<CheckSpec>());
}
