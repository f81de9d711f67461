//! A plant with a centre: broker, centre, the link between, signed modules, and a gateway that is ready to be started.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::binaries::Binaries;
use crate::broker::Broker;
use crate::bundles::Workshop;
use crate::cloud::Cloud;
use crate::gateway::Gateway;
use crate::link::Link;
use crate::tap::Tap;

/// Name of the gateway, and its client id at the broker.
pub const GATEWAY: &str = "gateway-1";

/// What the plant is to have.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Folder for everything; it exists.
    pub directory: &'a Path,
    /// The product.
    pub binaries: &'a Binaries,
    /// The gateway's program, where it is not the ordinary one.
    pub program: Option<PathBuf>,
    /// Modules, in the order of gateway.toml.
    pub modules: Vec<Module>,
    /// Further lines of the broker's section of gateway.toml.
    pub broker: &'a str,
    /// Further sections of gateway.toml.
    pub sections: &'a str,
    /// Whether there is a tap between broker and gateway.
    pub tapped: bool,
}

/// A module as gateway.toml names it.
#[derive(Debug, Clone)]
pub struct Module {
    /// Its bundle.
    pub bundle: PathBuf,
    /// Further lines of its section.
    pub settings: String,
}

/// A running plant. The gateway is configured and not started.
#[derive(Debug)]
pub struct Site {
    /// The gateway.
    pub gateway: Gateway,
    /// The tap, if there is one.
    pub tap: Option<Tap>,
    /// The link to the centre.
    pub link: Link,
    /// The centre.
    pub cloud: Cloud,
    /// The broker.
    pub broker: Broker,
}

impl Site {
    /// Starts everything but the gateway.
    ///
    /// # Errors
    /// When something does not start.
    pub fn start(plan: &Plan<'_>, workshop: &Workshop) -> Result<Self> {
        let folder = |name: &str| -> Result<PathBuf> {
            let folder = plan.directory.join(name);
            fs::create_dir_all(&folder)
                .with_context(|| format!("cannot make {}", folder.display()))?;
            Ok(folder)
        };
        let broker = Broker::start(&folder("broker")?)?;
        let cloud = Cloud::start(plan.binaries, &folder("cloud")?)?;
        let link = Link::to(cloud.address())?;
        let tap = plan.tapped.then(|| Tap::on(broker.port())).transpose()?;
        let program = plan
            .program
            .clone()
            .unwrap_or_else(|| plan.binaries.tidegate());
        let gateway = Gateway::new(program, &folder("gateway")?);
        let port = tap.as_ref().map_or(broker.port(), Tap::port);
        gateway.configure(&configuration(plan, port, &link, &workshop.root()))?;
        Ok(Self {
            gateway,
            tap,
            link,
            cloud,
            broker,
        })
    }
}

fn configuration(plan: &Plan<'_>, broker_port: u16, link: &Link, root: &Path) -> String {
    let mut text = format!(
        "[gateway]\nname = \"{GATEWAY}\"\nstate = \"state\"\n\n[trust]\nroot = \"{}\"\n\n\
         [uplink]\nurl = \"http://{}\"\n\n\
         [[broker]]\nname = \"plant\"\nurl = \"mqtt://127.0.0.1:{broker_port}\"\n{}\n\n{}\n",
        root.display(),
        link.address(),
        plan.broker,
        plan.sections,
    );
    for module in &plan.modules {
        text.push_str(&format!(
            "\n[[module]]\nbundle = \"{}\"\n{}\n",
            module.bundle.display(),
            module.settings
        ));
    }
    text
}
