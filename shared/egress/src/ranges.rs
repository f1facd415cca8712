//! The addresses that no callback may have, after IANA's special-purpose registries (RFC 6890 and its updates) and the
//! clouds' metadata services.
//!
//! IPv4 is a list of exceptions. IPv6 is the other way round: only `2000::/3` is handed out to anyone (RFC 4291, section
//! 2.4), so what lies outside is refused even when no name is known for it.
//!
//! An IPv6 address that stands for an IPv4 address is judged as that address. On a network with DNS64 every IPv4-only
//! name resolves to `64:ff9b::/96`, so that prefix is not refused as such.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A range of addresses and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The range.
    pub range: IpNet,
    /// What an address in it is, with its article: `a loopback address`.
    pub what: &'static str,
    /// Whether an operator may sensibly want callbacks there: on this machine or on a network of theirs.
    pub internal: bool,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, what: &'static str, internal: bool) -> Rule {
    Rule { range: IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)), what, internal }
}

const fn v6(address: u128, prefix: u8, what: &'static str, internal: bool) -> Rule {
    Rule { range: IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::from_bits(address), prefix)), what, internal }
}

/// Single addresses stand before the ranges that hold them, so that the more telling name is told.
const FORBIDDEN_V4: &[Rule] = &[
    v4(0, 0, 0, 0, 8, "an address of this host", true),
    v4(10, 0, 0, 0, 8, "a private address", true),
    v4(100, 64, 0, 0, 10, "a carrier-shared address", true),
    // Loopback holds the Lambda Runtime API and the extensions' ports: a callback there could forge answers.
    v4(127, 0, 0, 0, 8, "a loopback address", true),
    v4(169, 254, 169, 254, 32, "a cloud's metadata service", false),
    v4(169, 254, 0, 0, 16, "a link-local address", true),
    v4(172, 16, 0, 0, 12, "a private address", true),
    v4(192, 0, 0, 0, 24, "an address for protocol use", false),
    v4(192, 0, 2, 0, 24, "an address for documentation", false),
    v4(192, 88, 99, 0, 24, "a 6to4 relay", false),
    v4(192, 168, 0, 0, 16, "a private address", true),
    v4(198, 18, 0, 0, 15, "an address for benchmarks", true),
    v4(198, 51, 100, 0, 24, "an address for documentation", false),
    v4(203, 0, 113, 0, 24, "an address for documentation", false),
    v4(224, 0, 0, 0, 4, "a multicast address", false),
    v4(255, 255, 255, 255, 32, "the broadcast address", false),
    v4(240, 0, 0, 0, 4, "a reserved address", false),
    // Public by number, but answered by the host of an Azure machine.
    v4(168, 63, 129, 16, 32, "a cloud's metadata service", false),
];

const FORBIDDEN_V6: &[Rule] = &[
    v6(0, 128, "the unspecified address", true),
    v6(1, 128, "a loopback address", true),
    v6(0, 96, "an IPv4-compatible address", false),
    v6(0x0064_ff9b_0001_u128 << 80, 48, "a local translation of IPv4", true),
    v6(0x0100_u128 << 112, 64, "a discard address", false),
    v6(0x2001_0000_u128 << 96, 32, "a Teredo address", false),
    v6(0x2001_u128 << 112, 23, "an address for protocol use", false),
    v6(0x2001_0db8_u128 << 96, 32, "an address for documentation", false),
    v6(0x3fff_u128 << 112, 20, "an address for documentation", false),
    v6((0xfd00_0ec2_u128 << 96) | 0x254, 128, "a cloud's metadata service", false),
    v6(0xfc00_u128 << 112, 7, "a unique local address", true),
    v6(0xfe80_u128 << 112, 10, "a link-local address", true),
    v6(0xfec0_u128 << 112, 10, "a site-local address", true),
    v6(0xff00_u128 << 112, 8, "a multicast address", false),
];

const GLOBAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const UNASSIGNED_V6: Rule = v6(0, 0, "an address outside the global range", false);

/// The rule that forbids `address` as it is written, without regard to an IPv4 address it may stand for.
pub(crate) fn forbidding(address: IpAddr) -> Option<&'static Rule> {
    let table = if address.is_ipv4() { FORBIDDEN_V4 } else { FORBIDDEN_V6 };
    table.iter().find(|rule| rule.range.contains(&address)).or(match address {
        IpAddr::V6(v6) if !GLOBAL_V6.contains(&v6) => Some(&UNASSIGNED_V6),
        _ => None,
    })
}

/// The IPv4 address that an IPv6 address stands for: mapped (`::ffff:a.b.c.d`), translated (`64:ff9b::/96`, RFC 6052)
/// or 6to4 (`2002:aabb:ccdd::/48`, RFC 3056).
pub(crate) fn embedded(address: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(address) = address else { return None };
    let quad = |high: u16, low: u16| Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(quad(high, low)),
        [0x2002, high, low, ..] => Some(quad(high, low)),
        _ => None,
    }
}
