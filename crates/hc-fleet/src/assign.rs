//! Which nodes have which slots: a pure function of who is there.
//!
//! Each node draws a cost for each slot from its name alone; the nodes with the least have it
//! (weighted rendezvous hashing). A node that joins draws for itself and changes nobody else's
//! costs, so slots move to it and never between others.
//!
//! The draw is exact on every machine and in every version: integers only. Nodes that draw otherwise must
//! never be in one fleet; whoever changes it gives such fleets another version of the store.
//!
//! 1. `seed` is the first 8 bytes of SHA-256 over `hc-fleet 1 ` and the name, most significant
//!    first.
//! 2. `draw` is [`mix`] of `seed` exclusive-or [`mix`] of the slot's number plus 1.
//! 3. The cost is -log₂(draw / 2⁶⁴), 32 bits behind the point, divided by the capacity. Costs are
//!    compared by multiplying crosswise, so nothing is rounded. Such costs are distributed
//!    exponentially, and the least of several falls to each node in proportion to its capacity.
//!
//! Among nodes of several zones a slot's order goes in rounds: first the best node of each zone, by
//! cost, then the second of each, and so on. So the first three nodes stand in three zones where
//! there are three, the first one is the best of all, and the order of fewer opinions is the
//! beginning of that of more.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use hc_types::mix64;
use sha2::{Digest as _, Sha256};

use crate::{NodeName, Slot};

/// A node, as far as the assignment depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    /// Its name.
    pub name: NodeName,
    /// Its zone.
    pub zone: Box<str>,
    /// Its share beside others; 0 is taken as 1.
    pub capacity: u16,
}

/// The nodes among which checks are shared, ready to be asked for the order of a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// By name.
    seats: Vec<Drawn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Drawn {
    seat: Seat,
    zone: usize,
    seed: u64,
}

impl Assignment {
    /// Takes the nodes, in any order. Of several with one name the first counts.
    #[must_use]
    pub fn new(seats: impl IntoIterator<Item = Seat>) -> Self {
        let mut seats: Vec<Seat> = seats.into_iter().collect();
        seats.sort_by(|one, other| one.name.cmp(&other.name));
        seats.dedup_by(|one, other| one.name == other.name);
        let mut zones = BTreeMap::new();
        for seat in &seats {
            let next = zones.len();
            zones.entry(seat.zone.clone()).or_insert(next);
        }
        let drawn = |seat: Seat| Drawn { zone: zones[&seat.zone], seed: seed(&seat.name), seat };
        Self { seats: seats.into_iter().map(drawn).collect() }
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// The node at this place of an [order](Self::order).
    ///
    /// # Panics
    /// The place is not from an order of this assignment.
    #[must_use]
    pub fn name(&self, seat: u16) -> &NodeName {
        &self.seats[usize::from(seat)].seat.name
    }

    /// The place of a node, if it is one of these.
    #[must_use]
    pub fn place(&self, name: &NodeName) -> Option<u16> {
        let found = self.seats.binary_search_by(|drawn| drawn.seat.name.cmp(name)).ok()?;
        u16::try_from(found).ok()
    }

    /// All nodes, the one first that is the first to have this slot; as places for
    /// [`name`](Self::name). Those who give the opinions of a check that wants `k` are the first
    /// `k`.
    #[must_use]
    pub fn order(&self, slot: Slot) -> Box<[u16]> {
        let mut bids: Vec<Bid> = self.seats.iter().map(|drawn| Bid::new(drawn, slot)).collect();
        let mut places: Vec<u16> = (0..u16::MAX).take(bids.len()).collect();
        places.sort_by(|one, other| bids[usize::from(*one)].cost(&bids[usize::from(*other)]));
        let mut rounds = vec![0; self.seats.len()];
        for place in &places {
            let place = usize::from(*place);
            let round = &mut rounds[self.seats[place].zone];
            bids[place].round = *round;
            *round += 1;
        }
        // Stable: by cost within a round.
        places.sort_by_key(|place| bids[usize::from(*place)].round);
        places.into()
    }

    /// The first `opinions` nodes of a slot.
    pub fn first(&self, slot: Slot, opinions: u8) -> impl Iterator<Item = &NodeName> {
        let order = self.order(slot).into_vec();
        order.into_iter().take(opinions.into()).map(|seat| self.name(seat))
    }
}

/// What a node draws for a slot.
struct Bid {
    draw: u64,
    /// 32 bits behind the point, not yet divided by the capacity.
    cost: u64,
    capacity: u16,
    round: u32,
}

impl Bid {
    fn new(drawn: &Drawn, slot: Slot) -> Self {
        let draw = mix(drawn.seed ^ mix(u64::from(slot.number()) + 1));
        Self { draw, cost: minus_log2(draw), capacity: drawn.seat.capacity.max(1), round: 0 }
    }

    /// The better one is less. Where both cost the same the larger draw is; two equal ones stay in
    /// the order of names.
    fn cost(&self, other: &Self) -> Ordering {
        let cross = |one: &Self, other: &Self| u128::from(one.cost) * u128::from(other.capacity);
        cross(self, other).cmp(&cross(other, self)).then(other.draw.cmp(&self.draw))
    }
}

fn seed(name: &NodeName) -> u64 {
    let digest: [u8; 32] =
        Sha256::new().chain_update(b"hc-fleet 1 ").chain_update(name.as_str()).finalize().into();
    let [a, b, c, d, e, f, g, h, ..] = digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A draw that follows from `number`, also from 0.
fn mix(number: u64) -> u64 {
    mix64(number.wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// -log₂(`draw` / 2⁶⁴) with 32 bits behind the point, rounded up by less than 2⁻³²; 0 is taken as
/// 1. The whole part is the leading zeros, and each squaring of the rest gives one more bit.
fn minus_log2(draw: u64) -> u64 {
    let draw = draw.max(1);
    let zeros = draw.leading_zeros();
    // Between 1 and 2, 63 bits behind the point.
    let mut rest = u128::from(draw << zeros);
    let mut fraction = 0_u64;
    for _ in 0..32 {
        rest = (rest * rest) >> 63;
        let bit = rest >> 64;
        rest >>= bit;
        fraction = fraction << 1 | u64::from(bit != 0);
    }
    ((u64::from(zeros) + 1) << 32) - fraction
}

#[cfg(test)]
mod tests;
