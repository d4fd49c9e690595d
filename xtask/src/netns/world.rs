//! Two hosts, each a network namespace, and the switch between them.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Link;
use super::switch::{Counters, Switch};
use crate::process;

const SEED: u64 = 1;

/// Everything that stands inside the unshared namespaces.
pub(super) struct World {
    /// The host of the first node.
    pub(super) a: Host,
    /// The host of the second node.
    pub(super) b: Host,
    switch: Option<Switch>,
}

/// A network namespace with one interface, `eth0`.
pub(super) struct Host {
    name: &'static str,
    /// An open handle on the namespace.
    namespace: File,
    /// Its IPv4 address.
    pub(super) address: String,
}

impl World {
    /// Makes both hosts and starts the switch. Needs to be root of the current namespaces.
    pub(super) fn new(link: Link) -> Result<Self> {
        ip(&["link", "set", "lo", "up"])?;
        let a = Host::new("a", "10.77.0.1")?;
        let b = Host::new("b", "10.77.0.2")?;
        let delay = Duration::from_millis(link.delay_ms);
        let switch = Switch::start(&["port_a", "port_b"], delay, link.loss, SEED)?;
        Ok(Self { a, b, switch: Some(switch) })
    }

    /// Cuts the link for good and answers what the switch did.
    pub(super) fn stop_switch(&mut self) -> Result<Counters> {
        self.switch.take().context("the switch was stopped before")?.stop()
    }
}

impl Host {
    fn new(name: &'static str, address: &str) -> Result<Self> {
        let (port, end) = (format!("port_{name}"), format!("end_{name}"));
        ip(&["netns", "add", name])?;
        ip(&["link", "add", &port, "type", "veth", "peer", "name", &end])?;
        for interface in [&port, &end] {
            offloads_off(interface).with_context(|| format!("cannot set up {interface}"))?;
        }
        ip(&["link", "set", &port, "up"])?;
        ip(&["link", "set", &end, "netns", name])?;
        ip(&["-n", name, "link", "set", &end, "name", "eth0"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        let namespace = File::open(format!("/run/netns/{name}"))?;
        let mut host = Self { name, namespace, address: String::new() };
        host.move_to(address)?;
        Ok(host)
    }

    /// Gives the host another address; connections to the old one die.
    pub(super) fn move_to(&mut self, address: &str) -> Result<()> {
        let name = self.name;
        ip(&["-n", name, "addr", "flush", "dev", "eth0", "scope", "global"])?;
        ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        // mDNS sends to 224.0.0.251.
        ip(&["-n", name, "route", "replace", "224.0.0.0/4", "dev", "eth0"])?;
        address.clone_into(&mut self.address);
        Ok(())
    }

    /// A program on that host. It is killed when the thread that starts it ends.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = process::command(program);
        let namespace = self.namespace.as_raw_fd();
        // SAFETY: between fork and exec only async-signal-safe calls are made: setns and prctl
        // on integers. The descriptor stays open, since `self.namespace` is closed no earlier
        // than the end of the command's builder in every caller, who holds `self`.
        unsafe {
            command.pre_exec(move || {
                enter(namespace)?;
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                    return Err(io::Error::last_os_error());
                }
                Ok(())
            });
        }
        command
    }

    /// Runs a closure on that host, in a thread of its own.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.namespace.try_clone()?;
        Ok(std::thread::spawn(move || {
            enter(namespace.as_raw_fd()).context("cannot enter the namespace")?;
            work()
        }))
    }
}

fn enter(namespace: i32) -> io::Result<()> {
    // SAFETY: setns takes two integers and changes the calling thread's namespace only.
    match unsafe { libc::setns(namespace, libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    process::capture(process::command("ip").args(arguments)).map(drop)
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// Transmit checksums, TCP segmentation, generic segmentation and receive offload, off, as by
/// `ethtool -K IF tx off tso off gso off gro off`. Without it frames reach the packet socket
/// with no checksum, or longer than a frame, and neither TCP nor QUIC ever connects.
fn offloads_off(interface: &str) -> Result<()> {
    const ETHTOOL_STXCSUM: u32 = 0x17;
    const ETHTOOL_STSO: u32 = 0x1f;
    const ETHTOOL_SGSO: u32 = 0x24;
    const ETHTOOL_SGRO: u32 = 0x2c;
    const SIOCETHTOOL: libc::c_ulong = 0x8946;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    if interface.len() >= libc::IFNAMSIZ {
        bail!("the interface name is too long");
    }
    for command in [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO] {
        let mut value = EthtoolValue { command, data: 0 };
        // SAFETY: all-zero bytes are a valid ifreq: integers, arrays of them and a null pointer.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // SAFETY: the request names an interface with a terminating zero and points to an
        // ethtool_value; both outlive the call.
        let set = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL as _, &raw mut request) };
        if set < 0 {
            return Err(io::Error::last_os_error()).context("the kernel refused SIOCETHTOOL");
        }
    }
    Ok(())
}
