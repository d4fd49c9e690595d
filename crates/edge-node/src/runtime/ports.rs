//! Ports that the system chose are kept over restarts, so that the members of a pool that were all
//! down at once find each other where they left each other.

use std::{collections::BTreeMap, path::Path};

use crate::folder;

const FILE: &str = "ports.json";
const FILE_BYTES_MAX: u64 = 64 * 1_024;

/// The port each configured address with port 0 had last.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ports(BTreeMap<String, u16>);

impl Ports {
    /// Those of the last run; none when the file is missing or cannot be read: it is a convenience.
    pub(super) fn load(folder: &Path) -> Ports {
        let path = folder.join(FILE);
        let fits = std::fs::metadata(&path).is_ok_and(|file| file.len() <= FILE_BYTES_MAX);
        let bytes = if fits { std::fs::read(&path).ok() } else { None };
        Ports(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }

    /// A configured address with its last port in the place of 0.
    pub(super) fn apply(&self, configured: &str) -> String {
        let port = self.0.get(configured).filter(|port| **port != 0);
        match (port, port_at(configured)) {
            (Some(port), Some(at)) => {
                let mut parts: Vec<&str> = configured.split('/').collect();
                let port = port.to_string();
                parts[at] = &port;
                parts.join("/")
            }
            _ => configured.to_owned(),
        }
    }

    /// Forgets the port of the address that was made of a configured one.
    pub(super) fn forget(&mut self, configured: &str) {
        self.0.remove(configured);
    }

    /// Notes what the system chose, if it is not what the file says.
    pub(super) fn keep(folder: &Path, configured: &[String], actual: &[String]) {
        let chosen = configured.iter().filter_map(|address| {
            let port = actual.iter().find_map(|actual| port_of(address, actual))?;
            Some((address.clone(), port))
        });
        let ports = Ports(chosen.collect());
        if ports == Ports::load(folder) {
            return;
        }
        let kept = serde_json::to_vec(&ports.0)
            .map_err(std::io::Error::other)
            .and_then(|bytes| folder::replace(&folder.join(FILE), &bytes));
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot note the ports; they will be others after a restart");
        }
    }
}

/// Which part of an address is a port that the system is to choose.
fn port_at(configured: &str) -> Option<usize> {
    let parts: Vec<&str> = configured.split('/').collect();
    (1..parts.len()).find(|at| matches!(parts[at - 1], "tcp" | "udp") && parts[*at] == "0")
}

/// The port of an actual address, if the configured one led to it.
fn port_of(configured: &str, actual: &str) -> Option<u16> {
    let at = port_at(configured)?;
    let configured: Vec<&str> = configured.split('/').collect();
    let actual = actual.split("/p2p/").next()?.split('/').collect::<Vec<_>>();
    let fits = configured.len() == actual.len()
        && configured.iter().zip(&actual).enumerate().all(|(index, (asked, given))| {
            asked == given || index == at || matches!(*asked, "0.0.0.0" | "::")
        });
    fits.then(|| actual[at].parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(addresses: &[&str]) -> Vec<String> {
        addresses.iter().map(|address| (*address).to_owned()).collect()
    }

    #[test]
    fn each_chosen_port_returns_to_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let configured = owned(&[
            "/ip4/0.0.0.0/tcp/0",
            "/ip4/0.0.0.0/udp/0/quic-v1",
            "/ip4/0.0.0.0/tcp/0/ws",
            "/ip6/::/tcp/0",
            "/ip4/127.0.0.1/tcp/9000",
        ]);
        let actual = owned(&[
            "/ip4/10.0.0.2/tcp/41001/p2p/12D3",
            "/ip4/127.0.0.1/tcp/9000/p2p/12D3",
            "/ip4/10.0.0.2/tcp/41002/ws/p2p/12D3",
            "/ip4/10.0.0.2/udp/41003/quic-v1/p2p/12D3",
            "/ip6/fe80::1/tcp/41004/p2p/12D3",
        ]);
        Ports::keep(folder.path(), &configured, &actual);
        let mut ports = Ports::load(folder.path());
        let applied: Vec<String> = configured.iter().map(|a| ports.apply(a)).collect();
        let expected = owned(&[
            "/ip4/0.0.0.0/tcp/41001",
            "/ip4/0.0.0.0/udp/41003/quic-v1",
            "/ip4/0.0.0.0/tcp/41002/ws",
            "/ip6/::/tcp/41004",
            "/ip4/127.0.0.1/tcp/9000",
        ]);
        assert_eq!(applied, expected);
        ports.forget(&configured[0]);
        assert_eq!(ports.apply(&configured[0]), configured[0]);
        assert_eq!(ports.apply("dns4"), "dns4");
    }

    #[test]
    fn a_damaged_file_is_no_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), b"{\"/ip4/0.0.0.0/tcp/0\": 700").unwrap();
        assert_eq!(Ports::load(folder.path()), Ports::default());
        std::fs::write(folder.path().join(FILE), vec![b' '; 70_000]).unwrap();
        assert_eq!(Ports::load(folder.path()), Ports::default());
    }
}
