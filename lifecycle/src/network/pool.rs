//! Leasing addresses: the first pair of a pool that overlaps with no route of this host. A lease is
//! the route that comes with it, so that none can outlive its link.

use std::net::Ipv4Addr;

use serde::Deserialize;

use super::{LINK, NetworkError, tell};
use crate::spec::NetPool;

/// A pair of addresses, two neighbours (RFC 3021).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    /// The host's end.
    pub(super) host: Ipv4Addr,
    /// The namespace's, which stands for the guest.
    pub(super) guest: Ipv4Addr,
}

impl Lease {
    /// The first free pair.
    pub(super) fn find(pool: NetPool) -> Result<Self, NetworkError> {
        let routes = tell("ip", &["-j", "-4", "route", "show", "table", "all"], "")?;
        pick(pool, &taken(&routes)?).ok_or(NetworkError::NoFreeAddress(pool))
    }
}

/// A route, as `ip -j` tells it.
#[derive(Debug, Deserialize)]
struct Route {
    dst: String,
}

/// First and last address of every route but the default one.
fn taken(routes: &[u8]) -> Result<Vec<(u32, u32)>, NetworkError> {
    // Nothing is what it says where there is no route.
    if routes.trim_ascii().is_empty() {
        return Ok(range(LINK).into_iter().collect());
    }
    let routes: Vec<Route> = serde_json::from_slice(routes).map_err(std::io::Error::from)?;
    let routes = routes.iter().map(|route| route.dst.as_str());
    // The link between every guest and its namespace is in the way of nobody but them.
    Ok(routes.chain([LINK]).filter_map(range).collect())
}

/// The addresses of `a.b.c.d` or `a.b.c.d/n`.
pub(super) fn range(destination: &str) -> Option<(u32, u32)> {
    let (address, length) = destination.split_once('/').unwrap_or((destination, "32"));
    let (address, length) = (address.parse::<Ipv4Addr>().ok()?, length.parse::<u32>().ok()?);
    let rest = u32::MAX.checked_shr(length).unwrap_or(0);
    (length > 0).then(|| (u32::from(address) & !rest, u32::from(address) | rest))
}

fn pick(pool: NetPool, taken: &[(u32, u32)]) -> Option<Lease> {
    let (first, last) = pool.range();
    let mut pairs = (first..last).step_by(2);
    let free = |pair: &u32| taken.iter().all(|(low, high)| pair + 1 < *low || *high < *pair);
    let host = pairs.find(free)?;
    Some(Lease { host: host.into(), guest: (host + 1).into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(pool: &str, routes: &str) -> Option<String> {
        let taken = taken(routes.as_bytes()).unwrap();
        pick(pool.parse().unwrap(), &taken).map(|lease| lease.guest.to_string())
    }

    #[test]
    fn the_first_pair_without_a_route_is_leased() {
        assert_eq!(picked("10.231.0.0/16", "").as_deref(), Some("10.231.0.1"));
        let routes = r#"[{"dst":"default"},{"dst":"10.231.0.0/31","dev":"bgr-1"},
            {"dst":"10.231.0.3","type":"local"},{"dst":"10.231.0.8/29"}]"#;
        assert_eq!(picked("10.231.0.0/16", routes).as_deref(), Some("10.231.0.5"));
        let routes = r#"[{"dst":"10.231.0.0/29"},{"dst":"10.231.0.8/29"}]"#;
        assert_eq!(picked("10.231.0.0/16", routes).as_deref(), Some("10.231.0.17"));
    }

    #[test]
    fn a_pool_that_the_host_has_routes_for_is_of_no_use() {
        assert_eq!(picked("10.0.2.0/24", ""), None);
        assert_eq!(picked("10.231.0.0/30", r#"[{"dst":"10.0.0.0/8"}]"#), None);
        assert_eq!(
            picked("10.231.0.0/30", r#"[{"dst":"0.0.0.0/0"}]"#).as_deref(),
            Some("10.231.0.1")
        );
    }
}
