//! How many connections there may be, overall and from one network.
//!
//! Addresses live only here and only as keyed hashes, under a key drawn at each start; they
//! are never written anywhere.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use crate::sync::lock;

/// Where a connection comes from, as keyed hashes that mean nothing after the relay's end.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    /// An IPv4 address or an IPv6 /56.
    pub(crate) network: u64,
    /// An IPv4 /16 or an IPv6 /32.
    pub(crate) region: u64,
}

#[derive(Default)]
struct State {
    all: u32,
    by_network: HashMap<u64, u32>,
}

/// Who is in.
pub(crate) struct Visitors {
    key: RandomState,
    max: u32,
    network_max: u32,
    state: Mutex<State>,
}

/// One connection's place; given back when dropped.
pub(crate) struct Visit {
    visitors: Arc<Visitors>,
    origin: Origin,
}

impl Visitors {
    /// At most `max` connections, `network_max` of one network.
    pub(crate) fn new(max: u32, network_max: u32) -> Self {
        Self {
            key: RandomState::new(),
            max,
            network_max,
            state: Mutex::default(),
        }
    }

    /// Lets a connection in, or not.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Arc<Visit>> {
        let origin = Origin {
            network: self.key.hash_one(network(address)),
            region: self.key.hash_one(("region", region(address))),
        };
        let network = origin.network;
        let mut state = lock(&self.state);
        let there = state.by_network.get(&network).copied().unwrap_or(0);
        if state.all >= self.max || there >= self.network_max {
            return None;
        }
        state.all += 1;
        state.by_network.insert(network, there + 1);
        Some(Arc::new(Visit {
            visitors: Arc::clone(self),
            origin,
        }))
    }
}

impl Visit {
    /// Where it comes from.
    pub(crate) const fn origin(&self) -> Origin {
        self.origin
    }
}

/// One IPv4 address, or one IPv6 /56, which is what a household gets.
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 72).unwrap_or(u64::MAX) | 1 << 63,
    }
}

/// What one provider has many networks of: an IPv4 /16, an IPv6 /32.
fn region(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits() >> 16),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 96).unwrap_or(u64::MAX) | 1 << 63,
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut state = lock(&self.visitors.state);
        state.all = state.all.saturating_sub(1);
        if let Some(there) = state.by_network.get_mut(&self.origin.network) {
            *there = there.saturating_sub(1);
            if *there == 0 {
                state.by_network.remove(&self.origin.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Visitors;
    use std::net::IpAddr;
    use std::sync::Arc;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap_or(IpAddr::from([0, 0, 0, 0]))
    }

    #[test]
    fn one_network_can_not_take_every_place_and_places_come_back() {
        let visitors = Arc::new(Visitors::new(3, 2));
        let first = visitors.admit(ip("2001:db8:0:1::1"));
        let second = visitors.admit(ip("2001:db8:0:ff::2"));
        assert!(first.is_some() && second.is_some());
        assert!(visitors.admit(ip("2001:db8::3")).is_none(), "the same /56");
        let third = visitors.admit(ip("192.0.2.1"));
        assert!(third.is_some());
        assert!(visitors.admit(ip("192.0.2.2")).is_none(), "full");
        drop(first);
        assert!(visitors.admit(ip("::ffff:192.0.2.1")).is_some());
    }
}
