//! The rate of requests of each token, and of each address of callers without one.
//!
//! A token bucket as the generic cell rate algorithm (ITU-T I.371): of each caller one number is
//! kept, the time at which its bucket is full again.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::problem::{Kind, Problem};

/// The time in which an empty bucket is full again, so the size of a bucket is the rate.
const FILLING: Duration = Duration::from_secs(1);
/// The number of buckets above which those that are full are thrown away.
const MANY: usize = 1_024;

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// Those of a token, by its name.
    Token(String),
    /// Those from an address; of IPv6, from a network of 64 bits, which one machine may have.
    Address(IpAddr),
}

impl Counted {
    /// The requests from an address.
    pub(super) fn address(address: IpAddr) -> Self {
        const NETWORK: u128 = u128::MAX << 64;
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & NETWORK)),
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Counts requests, and refuses those that come too fast.
pub(super) struct Rate {
    a_second: NonZeroU32,
    buckets: Mutex<Buckets>,
}

struct Buckets {
    /// The time at which each bucket is full again.
    full_at: HashMap<Counted, Instant>,
    /// The number of buckets at which those that are full are looked for again.
    swept_at: usize,
}

impl Rate {
    pub(super) fn new(a_second: NonZeroU32) -> Self {
        Self {
            a_second,
            buckets: Mutex::new(Buckets {
                full_at: HashMap::new(),
                swept_at: MANY,
            }),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The request comes too fast.
    pub(super) fn count(&self, whose: Counted, now: Instant) -> Result<(), Problem> {
        let one = FILLING / self.a_second.get();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.full_at.get(&whose).copied().unwrap_or(now).max(now);
        // An empty bucket is full in FILLING; one request must be in it.
        if full_at - now > FILLING.saturating_sub(one) {
            let detail = format!(
                "more than {} requests a second; ask again in a second",
                self.a_second
            );
            return Err(Problem::new(Kind::RateLimited, detail));
        }
        buckets.full_at.insert(whose, full_at + one);
        if buckets.full_at.len() >= buckets.swept_at {
            buckets.full_at.retain(|_, full_at| *full_at > now);
            buckets.swept_at = (2 * buckets.full_at.len()).max(MANY);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(a_second: u32) -> Rate {
        Rate::new(NonZeroU32::new(a_second).expect("above 0"))
    }

    fn token(name: &str) -> Counted {
        Counted::Token(name.to_owned())
    }

    #[test]
    fn as_many_come_through_as_the_rate_allows_and_each_caller_has_its_own() {
        let rate = rate(4);
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let passed = |name: &str, millis: u64| rate.count(token(name), at(millis)).is_ok();
        for _ in 0..4 {
            assert!(passed("ann", 0));
        }
        assert!(!passed("ann", 0) && passed("bob", 0));
        // A refused request costs nothing; one is let through every quarter of a second.
        assert!(!passed("ann", 249) && passed("ann", 250) && !passed("ann", 251));
        // After a second nothing is left of what was.
        for _ in 0..4 {
            assert!(passed("ann", 2_000));
        }
        assert!(!passed("ann", 2_000));
        // What is told to wait for a second may come then, at the lowest rate too.
        let slow = Rate::new(NonZeroU32::MIN);
        assert!(slow.count(token("ann"), at(0)).is_ok());
        assert!(slow.count(token("ann"), at(999)).is_err());
        assert!(slow.count(token("ann"), at(1_000)).is_ok());
    }

    #[test]
    fn the_number_of_buckets_is_bounded_by_the_requests_of_a_second() {
        let rate = rate(1);
        let begun = Instant::now();
        for at in 0..20_000 {
            let now = begun + Duration::from_millis(at);
            let _ = rate.count(token(&at.to_string()), now);
        }
        let kept = rate.buckets.lock().expect("the buckets").full_at.len();
        assert!(kept <= 2 * MANY, "{kept}");
    }

    #[test]
    fn addresses_of_one_network_are_one_caller() {
        let of = |text: &str| Counted::address(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
