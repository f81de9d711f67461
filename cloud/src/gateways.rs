//! Tokens of gateways from the command line: given by who owns the database, while the centre runs or not.

use std::time::Duration;

use clap::{Args, Subcommand};
use tidegate_record::{Clock, SystemClock};
use tidegate_wire::Name;

use crate::access::Secret;
use crate::store::audit::Event;
use crate::store::devices::{Devices as _, EnrolmentToken};
use crate::store::{Store as _, Tenant};
use crate::tokens::{Database, Error, after};

/// How long a token is worth something, unless said otherwise.
pub const HOURS_DEFAULT: u32 = 24;

/// The longest: a month, for a machine that travels by ship.
pub const HOURS_MAX: u32 = 31 * 24;

/// What to do with tokens of gateways.
#[derive(Debug, Clone, Subcommand)]
pub enum GatewayTokenCommand {
    /// Makes a token by which one machine becomes a gateway, and prints it, this once. Only its SHA-256 is kept.
    Add(AddArguments),
}

/// Arguments of `gateway-token add`.
#[derive(Debug, Clone, Args)]
pub struct AddArguments {
    /// As which gateway; otherwise as any that is not known yet.
    #[arg(long, value_name = "NAME", value_parser = Name::new)]
    gateway: Option<Name>,
    /// Whose fleet it joins.
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = Name::new)]
    tenant: Name,
    /// After how many hours it is worth nothing.
    #[arg(long, default_value_t = HOURS_DEFAULT, value_parser = clap::value_parser!(u32).range(1..=i64::from(HOURS_MAX)))]
    hours: u32,
    #[command(flatten)]
    database: Database,
}

/// Does it; gives what stdout gets.
///
/// # Errors
/// See [`Error`].
pub async fn run(command: &GatewayTokenCommand) -> Result<String, Error> {
    let GatewayTokenCommand::Add(arguments) = command;
    let store = arguments.database.open().await?;
    let secret = Secret::enrolment(store.centre_id()).map_err(Error::Random)?;
    let now = SystemClock::new().wall_time();
    let token = EnrolmentToken {
        tenant: Tenant::new(&arguments.tenant),
        gateway: arguments.gateway.clone(),
        created: now,
        expires: after(now, Duration::from_secs(u64::from(arguments.hours) * 3600)),
    };
    let gateway = token.gateway.as_ref().map_or("any gateway", Name::as_str);
    let event = Event::of_owner("gateway-token add", gateway);
    let added = store.add_enrolment_token(&token, secret.digest(), &event);
    let added = added.await;
    store.close().await;
    match added.map_err(|source| arguments.database.failed(source))? {
        true => Ok(format!("{}\n", secret.reveal())),
        false => Err(Error::TooMany),
    }
}
