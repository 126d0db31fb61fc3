//! The hosts that a request for operators may name. The check prevents DNS rebinding: a web page
//! could let its own name point to this machine and read the responses through a browser.

use std::net::IpAddr;

use actix_web::http::StatusCode;
use actix_web::http::header::{HOST, ORIGIN};
use actix_web::{HttpRequest, HttpResponse};

/// The accepted hosts.
#[derive(Debug, Clone)]
pub(crate) struct Hosts {
    any: bool,
    addresses: Addresses,
    /// In lower case, without a port.
    names: Vec<String>,
}

/// Addresses can't be rebound, so they are restricted only if the server listens on a single one.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "they need a listener"))]
enum Addresses {
    All,
    Loopback,
    /// This address, and loopback.
    One(IpAddr),
}

impl Hosts {
    /// The names of this machine, all addresses, and `names`.
    pub(super) fn named(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let names: Vec<String> =
            (names.into_iter()).map(|name| plain(&name.into()).to_ascii_lowercase()).collect();
        Self { any: names.iter().any(|name| name == "*"), addresses: Addresses::All, names }
    }

    /// The hosts of a server that listens on `address`, and `names`. Ports are ignored: they may be
    /// forwarded.
    #[cfg(feature = "http")]
    pub(crate) fn listening(address: IpAddr, names: &[String]) -> Self {
        let addresses = match address {
            address if address.is_loopback() => Addresses::Loopback,
            address if address.is_unspecified() => Addresses::All,
            address => Addresses::One(address),
        };
        Self { addresses, ..Self::named(names) }
    }

    /// The refusal of a request that names another host, or whose origin does.
    pub(super) fn refusal(&self, request: &HttpRequest) -> Option<HttpResponse> {
        if self.any {
            return None;
        }
        let header = |name| Some(request.headers().get(name)?.to_str().unwrap_or_default());
        // With an absolute URI the header is ignored (RFC 9112, 3.2.2). HTTP/1.0 names no host;
        // browsers always do.
        let authority = request.uri().authority().map(|authority| authority.as_str());
        if let Some(host) = authority.or_else(|| header(HOST))
            && !self.has(host)
        {
            let text = "this host is not served here; name it in `hosts`\n";
            return Some(HttpResponse::build(StatusCode::MISDIRECTED_REQUEST).body(text));
        }
        let origin = header(ORIGIN)?;
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        let text = "requests from this origin are refused; name it in `hosts`\n";
        (!self.has(host)).then(|| HttpResponse::build(StatusCode::FORBIDDEN).body(text))
    }

    fn has(&self, host: &str) -> bool {
        let host = plain(host).to_ascii_lowercase();
        if let Ok(address) = host.parse::<IpAddr>() {
            let right = match self.addresses {
                Addresses::All => true,
                Addresses::Loopback => address.is_loopback(),
                Addresses::One(own) => address == own || address.is_loopback(),
            };
            return right || self.names.contains(&host);
        }
        host == "localhost" || self.names.contains(&host)
    }
}

/// A host without its port, brackets and last dot.
fn plain(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("", |(address, _)| address);
    }
    let name = match host.rsplit_once(':') {
        // Several colons are an IPv6 address without brackets.
        Some((name, port)) if !name.contains(':') && port.bytes().all(|c| c.is_ascii_digit()) => {
            name
        }
        _ => host,
    };
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// The status of the refusal; 0 if the request passes.
    fn status(hosts: &Hosts, headers: &[(&str, &str)]) -> u16 {
        let request =
            headers.iter().fold(TestRequest::get(), |request, pair| request.insert_header(*pair));
        let refusal = hosts.refusal(&request.to_http_request());
        refusal.map_or(0, |refusal| refusal.status().as_u16())
    }

    #[test]
    fn a_table_of_hosts() {
        let any = Hosts::named(["*"]);
        let named = Hosts::named(["ops.example:8080", "Other.example"]);
        for (host, by_name) in [
            ("localhost", 0),
            ("LOCALHOST:8080", 0),
            ("localhost.", 0),
            ("127.0.0.1:80", 0),
            ("[::1]:8080", 0),
            ("10.0.0.7:8080", 0),
            ("ops.example", 0),
            ("ops.example:9", 0),
            ("other.example.", 0),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("evil.example:127.0.0.1", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost@evil.example", 421),
            ("", 421),
            ("::1:x", 421),
            ("[evil]", 421),
        ] {
            assert_eq!(status(&named, &[("host", host)]), by_name, "{host}");
            assert_eq!(status(&any, &[("host", host)]), 0, "{host}");
        }
        assert_eq!(status(&named, &[]), 0);
        for (origin, wanted) in [
            ("http://localhost:3000", 0),
            ("https://ops.example", 0),
            ("http://evil.example", 403),
            ("null", 403),
        ] {
            let headers = [("host", "localhost"), ("origin", origin)];
            assert_eq!(status(&named, &headers), wanted, "{origin}");
        }
    }

    #[cfg(feature = "http")]
    #[test]
    fn addresses_are_those_that_are_listened_on() {
        let at = |listen: &str| Hosts::listening(listen.parse().expect("an address"), &[]);
        let asked = |listen: &str, host: &str| status(&at(listen), &[("host", host)]);
        assert_eq!(asked("127.0.0.1", "127.0.0.1:8080"), 0);
        assert_eq!(asked("127.0.0.1", "10.0.0.7"), 421);
        assert_eq!(asked("::1", "[::1]:8080"), 0);
        assert_eq!(asked("10.0.0.7", "10.0.0.7:1"), 0);
        assert_eq!(asked("10.0.0.7", "10.0.0.8"), 421);
        assert_eq!(asked("10.0.0.7", "ops.example"), 421);
        assert_eq!(asked("0.0.0.0", "10.0.0.8"), 0);
        assert_eq!(asked("0.0.0.0", "ops.example"), 421);
    }
}
