//! Who calls, by address: the peer itself, or what trusted proxies say about it.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::{IpNet, Ipv4Net};

use crate::problem::Problem;

/// Each proxy adds the address of whom it was called by to its end.
const FORWARDED: &str = "x-forwarded-for";
/// How the client called, as the last proxy before us says.
const PROTOCOL: &str = "x-forwarded-proto";
/// Bits before the IPv4 address in an IPv6 address that stands for one.
const MAPPED_PREFIX: u8 = 96;

/// Proxies whose word about their own callers counts. None by default: anybody can send the header.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrustedProxies(Arc<[IpNet]>);

/// The address of the client that a request came from; an IPv4 address is never in its IPv6 form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller(pub IpAddr);

impl FromStr for TrustedProxies {
    type Err = ();

    /// Addresses and networks in CIDR notation, with commas between.
    fn from_str(text: &str) -> Result<Self, ()> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(|entry| network(entry).ok_or(())).collect::<Result<_, _>>().map(Self)
    }
}

impl TrustedProxies {
    /// The client behind `peer`: from the end of `X-Forwarded-For`, the first that is no trusted proxy. What stands
    /// before it was written by somebody who need not tell the truth.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        // Split as bytes: what a client wrote, however odd, must not hide what the proxy put behind it.
        let lines = headers.get_all(FORWARDED).iter().rev();
        let mut entries = lines
            .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|entry| !entry.is_empty());
        while self.trusts(client) {
            let Some(named) = entries.next().and_then(address) else { break };
            client = named;
        }
        client
    }

    /// Whether `peer` says that its own caller used TLS, and its word counts.
    pub(super) fn https(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let last = headers.get_all(PROTOCOL).iter().next_back();
        let said = last.and_then(|line| line.as_bytes().rsplit(|byte| *byte == b',').next());
        self.trusts(peer.to_canonical())
            && said.is_some_and(|said| said.trim_ascii().eq_ignore_ascii_case(b"https"))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// An address alone is a network of one.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address))).ok()?;
    // Addresses are compared in their IPv4 form, where they have one.
    match network {
        IpNet::V6(v6) => match (v6.addr().to_ipv4_mapped(), v6.prefix_len().checked_sub(MAPPED_PREFIX)) {
            (Some(v4), Some(prefix)) => Ipv4Net::new(v4, prefix).ok().map(IpNet::from),
            _ => Some(network),
        },
        IpNet::V4(_) => Some(network),
    }
}

/// One entry of the header: an address, perhaps in brackets, perhaps with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse().map(|address: SocketAddr| address.ip());
    bare.parse().or_else(|_| with_port()).ok().map(|address: IpAddr| address.to_canonical())
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let caller = parts.extensions.get::<Self>();
        caller.copied().ok_or_else(|| Problem::internal("served without the caller's address"))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// The client that is found behind `peer`, when 10.0.0.0/8 and fd00::/8 are trusted.
    fn client(peer: &str, lines: &[&[u8]]) -> IpAddr {
        let proxies: TrustedProxies = "10.0.0.0/8, fd00::/8".parse().unwrap();
        let name = HeaderName::from_static(FORWARDED);
        let line = |line: &&[u8]| (name.clone(), HeaderValue::from_bytes(line).unwrap());
        proxies.client(ip(peer), &lines.iter().map(line).collect())
    }

    #[test]
    fn a_peer_that_is_not_trusted_is_the_client_whatever_it_says() {
        for peer in ["203.0.113.7", "2001:db8::7"] {
            assert_eq!(client(peer, &[b"198.51.100.1"]), ip(peer));
            assert_eq!(client(peer, &[b"10.0.0.1, 198.51.100.1", b"10.0.0.2"]), ip(peer));
        }
        let header =
            HeaderMap::from_iter([(HeaderName::from_static(FORWARDED), HeaderValue::from_static("::2"))]);
        assert_eq!(TrustedProxies::default().client(ip("::1"), &header), ip("::1"));
    }

    #[test]
    fn what_stands_before_the_first_that_is_not_trusted_is_not_believed() {
        let found = ip("198.51.100.1");
        assert_eq!(client(PROXY, &[b"198.51.100.1"]), found);
        assert_eq!(client(PROXY, &[b"192.0.2.66, 198.51.100.1"]), found);
        assert_eq!(client(PROXY, &[b"10.9.9.9,198.51.100.1"]), found);
        assert_eq!(client(PROXY, &[b"garbage, 198.51.100.1"]), found);
        assert_eq!(client(PROXY, &[b"\xff\xfe, 198.51.100.1"]), found);
    }

    #[test]
    fn several_proxies_and_several_lines_are_walked_from_the_end() {
        let found = ip("198.51.100.1");
        assert_eq!(client(PROXY, &[b"192.0.2.66, 198.51.100.1, 10.0.0.3, 10.0.0.2"]), found);
        assert_eq!(client(PROXY, &[b"192.0.2.66", b"198.51.100.1, 10.0.0.3", b"fd00::2"]), found);
        assert_eq!(client("fd00::1", &[b"192.0.2.66", b"198.51.100.1"]), found);
        // A request from within: the proxy that called first is the client.
        assert_eq!(client(PROXY, &[b"10.0.0.4, 10.0.0.3"]), ip("10.0.0.4"));
    }

    #[test]
    fn ports_brackets_and_ipv6_are_read() {
        for (entry, address) in [
            ("198.51.100.1:4711", "198.51.100.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("[::ffff:198.51.100.1]:4711", "198.51.100.1"),
        ] {
            assert_eq!(client(PROXY, &[entry.as_bytes()]), ip(address), "{entry}");
        }
        // A socket for both families names its IPv4 peers so.
        assert_eq!(client("::ffff:10.0.0.1", &[b"198.51.100.1"]), ip("198.51.100.1"));
        assert_eq!(client("::ffff:203.0.113.7", &[b"198.51.100.1"]), ip("203.0.113.7"));
    }

    #[test]
    fn garbage_stops_the_walk_at_the_last_good_address() {
        for garbage in
            ["unknown", "_hidden", "198.51.100.1.5", "[2001:db8::1", "198.51.100.1:x", "\"10.0.0.2\""]
        {
            assert_eq!(client(PROXY, &[garbage.as_bytes()]), ip(PROXY), "{garbage}");
            let behind = format!("192.0.2.66, {garbage}, 10.0.0.2");
            assert_eq!(client(PROXY, &[behind.as_bytes()]), ip("10.0.0.2"), "{garbage}");
        }
    }

    #[test]
    fn tls_is_what_a_trusted_proxy_says_it_is() {
        let proxies: TrustedProxies = "10.0.0.0/8".parse().unwrap();
        let said = |peer: &str, text: &'static str| {
            let line = (HeaderName::from_static(PROTOCOL), HeaderValue::from_static(text));
            proxies.https(ip(peer), &HeaderMap::from_iter([line]))
        };
        assert!(said(PROXY, "https") && said(PROXY, "http, HTTPS") && said("::ffff:10.0.0.1", "https"));
        assert!(!said(PROXY, "http") && !said(PROXY, "https, http") && !said("203.0.113.7", "https"));
    }

    #[test]
    fn empty_headers_and_entries_say_nothing() {
        assert_eq!(client(PROXY, &[]), ip(PROXY));
        assert_eq!(client(PROXY, &[b""]), ip(PROXY));
        assert_eq!(client(PROXY, &[b" , ,"]), ip(PROXY));
        assert_eq!(client(PROXY, &[b"198.51.100.1, ,", b"", b",10.0.0.2"]), ip("198.51.100.1"));
    }

    #[test]
    fn the_setting_takes_addresses_and_networks_and_nothing_else() {
        let proxies: TrustedProxies = "127.0.0.1, ::1,172.16.0.0/12,::ffff:10.0.0.0/104".parse().unwrap();
        for trusted in ["127.0.0.1", "::1", "172.31.255.255", "10.1.2.3"] {
            assert!(proxies.trusts(ip(trusted)), "{trusted}");
        }
        for other in ["127.0.0.2", "::2", "172.32.0.0", "11.0.0.1", "::ffff:10.0.0.1"] {
            assert!(!proxies.trusts(ip(other)), "{other}");
        }
        assert_eq!("".parse(), Ok(TrustedProxies::default()));
        for wrong in ["proxy.example.org", "10.0.0.0/33", "10.0.0.1:80", "10.0.0", "*", "10.0.0.1 10.0.0.2"] {
            assert_eq!(wrong.parse::<TrustedProxies>(), Err(()), "{wrong}");
        }
    }
}
