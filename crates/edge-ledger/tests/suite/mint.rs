//! The contribution curve: against the golden table, and its laws.

use edge_base::Credits;
use edge_ledger::CpuHours;
use proptest::prelude::*;

/// Micro-hours, rate, multiplier and cap of `oracles/mint.py`.
fn golden() -> impl Iterator<Item = [u64; 4]> {
    include_str!("../golden/mint.txt").lines().map(|line| {
        let numbers: Vec<u64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    })
}

fn curve(hours: u64, rate: u64) -> (u64, u64) {
    let hours = CpuHours::from_micro(hours);
    (hours.multiplier(), hours.cap(Credits::from_micro(rate)).micro())
}

#[test]
fn multiplier_and_cap_are_those_of_the_golden_table() {
    assert!(golden().count() > 70);
    for [hours, rate, multiplier, cap] in golden() {
        assert_eq!(curve(hours, rate), (multiplier, cap), "{hours} micro-hours at {rate}");
    }
}

#[test]
fn the_designs_values_to_four_places() {
    for (thousand_hours, expected) in
        [(100, 9.1435), (500, 6.4588), (1_000, 4.3109), (5_000, 1.0606), (10_000, 1.0004)]
    {
        let hours = CpuHours::from_micro(thousand_hours * 1_000_000_000);
        let multiplier = hours.multiplier() as f64 / 1e9;
        assert!((multiplier - expected).abs() <= 5e-5, "{multiplier} for {expected}");
    }
}

#[test]
fn cpu_time_becomes_hours() {
    for (micros, micro_hours) in
        [(0, 0), (3_599, 0), (3_600, 1), (3_600_000_000, 1_000_000), (u128::MAX, u64::MAX)]
    {
        assert_eq!(CpuHours::from_cpu_micros(micros).micro(), micro_hours);
    }
}

/// Hours at every scale.
fn hours() -> impl Strategy<Value = u64> {
    (0u32..64, any::<u64>()).prop_map(|(shift, bits)| bits >> shift)
}

proptest! {
    #[test]
    fn the_multiplier_falls_and_the_cap_grows(a in hours(), b in hours(), rate in hours()) {
        let (less, more) = (a.min(b), a.max(b));
        let ((m_less, s_less), (m_more, s_more)) = (curve(less, rate), curve(more, rate));
        prop_assert!(m_less >= m_more && s_less <= s_more);
        prop_assert!((1_000_000_000..=10_000_000_000).contains(&m_more));
    }

    /// S' = r·m. As m falls, what the cap grows by in a while lies between r·m at the end of it and r·m
    /// at its beginning, within a unit for each rounding.
    #[test]
    fn the_caps_slope_is_the_rate_times_the_multiplier(
        from in 0u64..40_000_000_000_000,
        step in 1u64..10_000_000_000,
        rate in 1u64..100_000_000,
    ) {
        let ((m_from, s_from), (m_to, s_to)) = (curve(from, rate), curve(from + step, rate));
        let grown = u128::from(s_to - s_from);
        let slope = |m: u64, slack: u64| {
            u128::from(rate) * u128::from(step) * u128::from(m + slack) / 1_000_000_000_000_000
        };
        // A micro-hour's rounding inside the cap is worth rate / 10⁶.
        let unit = 2 + u128::from(rate) / 1_000_000;
        prop_assert!(grown <= slope(m_from, 1) + unit, "{grown} {} {unit}", slope(m_from, 1));
        prop_assert!(grown + unit >= slope(m_to, 0), "{grown} {} {unit}", slope(m_to, 0));
    }

    /// The cap never passes ten times the rate for every hour, nor falls below the rate.
    #[test]
    fn the_cap_lies_between_one_and_ten_times_the_hours(micro in hours(), rate in 0u64..1 << 40) {
        let (_, cap) = curve(micro, rate);
        let plain = u128::from(micro) * u128::from(rate) / 1_000_000;
        let cap = u128::from(cap);
        prop_assert!(cap >= plain.min(u128::from(u64::MAX)));
        prop_assert!(cap <= plain.saturating_mul(10).saturating_add(10));
    }
}
