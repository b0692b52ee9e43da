//! A network for a cluster's nodes: one Linux network namespace each, and a cable between any two,
//! which can be cut. Needs root. Nothing of it is seen outside: the harness itself asks PostgreSQL
//! over Unix sockets, which no cut touches, and so does a client beside an isolated primary.
//!
//! Each cable runs through a bridge of its own in a further namespace, the switch. A cut takes one
//! end out of the bridge: both sides go on to send, and nothing arrives, as with a broken router.

use super::error::{DemoError, Result};
use super::sandbox::run_to_end;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where named network namespaces are, by convention of `ip netns`.
const NAMESPACES: &str = "/run/netns";
/// As many as a host number of one byte, and a cable between any two: more is no test's wish.
const NODES_MAX: usize = 16;

/// Where a node is on the network.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its address.
    pub(crate) address: String,
    /// Its network namespace; `None`: this process' own.
    pub(crate) namespace: Option<PathBuf>,
}

impl Place {
    /// Returns the place of a node on loopback, where nothing can be cut.
    pub(crate) fn loopback() -> Self {
        Self { address: "127.0.0.1".to_owned(), namespace: None }
    }
}

/// The namespaces and cables of one cluster; dropping it removes them.
#[derive(Debug)]
pub(crate) struct Networks {
    prefix: String,
    nodes: Vec<String>,
}

impl Networks {
    /// Makes a namespace for each of `nodes`, and a cable between any two. `prefix` tells clusters
    /// apart.
    ///
    /// # Errors
    /// When the kernel refuses: it takes root, `iproute2`, and the right to make namespaces.
    pub(crate) fn make(prefix: &str, nodes: Vec<String>) -> Result<Self> {
        if nodes.len() > NODES_MAX {
            return Err(DemoError::State(format!("a network has at most {NODES_MAX} nodes")));
        }
        let networks = Self { prefix: prefix.to_owned(), nodes };
        // From here on a failure drops what was made.
        networks.add_namespace(&networks.switch())?;
        for (index, name) in networks.nodes.iter().enumerate() {
            let namespace = networks.namespace(name);
            networks.add_namespace(&namespace)?;
            ip(&format!("-n {namespace} addr add {}/32 dev lo", address(index)))?;
        }
        for high in 1..networks.nodes.len() {
            (0..high).try_for_each(|low| networks.lay_cable(low, high))?;
        }
        Ok(networks)
    }

    /// Returns where `node` is.
    pub(crate) fn place(&self, node: &str) -> Result<Place> {
        let index = self.index(node)?;
        let namespace = Some(Path::new(NAMESPACES).join(self.namespace(node)));
        Ok(Place { address: address(index), namespace })
    }

    /// Cuts the cable between two nodes; nothing happens if it is cut.
    pub(crate) fn cut(&self, one: &str, other: &str) -> Result<()> {
        let (low, high) = self.pair(one, other)?;
        ip(&format!("-n {} link set {} nomaster", self.switch(), port(low, high)))
    }

    /// Repairs the cable between two nodes; nothing happens if it is whole.
    pub(crate) fn mend(&self, one: &str, other: &str) -> Result<()> {
        let (low, high) = self.pair(one, other)?;
        ip(&format!("-n {} link set {} master {}", self.switch(), port(low, high), bridge(low, high)))
    }

    /// Returns every node's name.
    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    fn lay_cable(&self, low: usize, high: usize) -> Result<()> {
        let (switch, bridge) = (self.switch(), bridge(low, high));
        ip(&format!("-n {switch} link add {bridge} type bridge"))?;
        ip(&format!("-n {switch} link set {bridge} up"))?;
        for (from, to) in [(low, high), (high, low)] {
            let (namespace, port) = (self.namespace(&self.nodes[from]), port(from, to));
            ip(&format!("link add name to{to} netns {namespace} type veth peer name {port} netns {switch}"))?;
            ip(&format!("-n {switch} link set {port} master {bridge} up"))?;
            ip(&format!("-n {namespace} link set to{to} up"))?;
            ip(&format!("-n {namespace} route add {}/32 dev to{to} src {}", address(to), address(from)))?;
        }
        Ok(())
    }

    fn add_namespace(&self, namespace: &str) -> Result<()> {
        ip(&format!("netns add {namespace}"))?;
        ip(&format!("-n {namespace} link set lo up"))
    }

    fn switch(&self) -> String {
        self.namespace("switch")
    }

    fn namespace(&self, node: &str) -> String {
        format!("{}-{node}", self.prefix)
    }

    fn index(&self, node: &str) -> Result<usize> {
        let found = self.nodes.iter().position(|name| name == node);
        found.ok_or_else(|| DemoError::State(format!("{node} is not on the network")))
    }

    fn pair(&self, one: &str, other: &str) -> Result<(usize, usize)> {
        let (one, other) = (self.index(one)?, self.index(other)?);
        Ok((one.min(other), one.max(other)))
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for node in self.nodes.iter().map(String::as_str).chain(["switch"]) {
            // One that was never made can't be removed; what is left over is empty and harms nobody.
            let _removed = ip(&format!("netns del {}", self.namespace(node)));
        }
    }
}

/// A private network of its own: nobody routes into a namespace.
fn address(index: usize) -> String {
    format!("10.77.0.{}", index + 1)
}

fn bridge(low: usize, high: usize) -> String {
    format!("b{low}-{high}")
}

/// The switch's end of the cable that runs from one node to another.
fn port(from: usize, to: usize) -> String {
    format!("p{from}-{to}")
}

fn ip(arguments: &str) -> Result<()> {
    let program = Path::new("ip");
    let mut command = Command::new(program);
    command.args(arguments.split_whitespace()).current_dir("/");
    run_to_end(&format!("ip {arguments}"), program, &mut command).map(drop)
}
