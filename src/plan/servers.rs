//! Checks what servers listen on, and the hosts that their requests may name.

use std::net::SocketAddr;

use super::Validator;
use crate::config::Code;

/// Checks an address. One that other machines reach is a mistake, with this help, unless `allowed`.
pub(super) fn listens(
    validator: &mut Validator<'_>,
    path: &[&str],
    listen: &str,
    allowed: bool,
    help: &str,
) {
    match listen.parse::<SocketAddr>() {
        Ok(address) if !address.ip().is_loopback() && !allowed => {
            let message = format!("{address} is reachable from other machines");
            let mistake = validator.error(Code::PublicAddress, path, message);
            validator.report(mistake.help(help));
        }
        Ok(_) => {}
        Err(_) => {
            let message = format!("`{listen}` is not an address with a port");
            let mistake = validator.error(Code::InvalidValue, path, message);
            validator.report(mistake.help("write it like \"127.0.0.1:8080\""));
        }
    }
}

/// Checks names of hosts.
pub(super) fn hosts(validator: &mut Validator<'_>, path: &[&str], hosts: &[String]) {
    let is_host = |host: &String| {
        host == "*"
            || !(host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@*".contains(c)))
    };
    if let Some(wrong) = hosts.iter().find(|host| !is_host(host)) {
        let mistake = validator.error(Code::InvalidValue, path, format!("`{wrong}` is not a host"));
        validator.report(mistake.help("write names like \"ops.example\", or \"*\" for any"));
    }
}
