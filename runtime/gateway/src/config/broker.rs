//! `[[broker]]`: a broker as its operator describes it. What its protocol or its url cannot do is refused, not ignored.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidegate_field::{
    BrokerConfig, BrokerUrl, ClientId, Credentials, Identity, MessageIdFrom, Protocol,
};
use tidegate_record::{Limits, Name};
use tidegate_settings::{Section, duration};

use super::{File, Source};

/// Ids of messages that a module may remember: at the upper end it takes 8 MB of the database and about 30 MB of memory.
const MESSAGE_IDS: RangeInclusive<u32> = 1..=1_000_000;

impl File<'_> {
    pub(super) fn broker(
        &mut self,
        mut section: Section<'_>,
        gateway: Option<&Name>,
    ) -> Option<BrokerConfig> {
        let name = self.source(&mut section, Source::Broker);
        let url: Option<BrokerUrl> = section.required("url");
        let protocol: Protocol = section.optional("protocol").unwrap_or_default();
        let given = section.optional_as("client-id", |text| {
            ClientId::new(text).map_err(|error| error.to_string())
        });
        let client_id = given.or_else(|| ClientId::new(gateway?.as_str()).ok());
        let credentials = self.credentials(&mut section);
        let ca_file = section.optional_as("ca", |text| Ok(self.base.join(text)));
        let identity = self.identity(&mut section);
        if url.as_ref().is_some_and(|url| !url.is_tls()) {
            for key in ["ca", "certificate", "key"] {
                section.refuse(key, "is for a broker whose url begins with mqtts://");
            }
        }
        let session_expiry = section.optional_as("session-expiry", session_expiry);
        if protocol == Protocol::Mqtt311 {
            let reason = "MQTT 3.1.1 has no word for it, the broker's own setting rules";
            section.refuse("session-expiry", reason);
        }
        let message_id = section.section("message-id");
        let (message_id, message_ids_max) = message_id
            .map(|section| message_id_from(section, protocol))
            .unwrap_or_default();
        section.end();
        Some(BrokerConfig {
            protocol,
            credentials,
            ca_file,
            identity,
            message_id,
            message_ids_max: message_ids_max.unwrap_or(Limits::DEFAULT.seen_ids_max),
            session_expiry: session_expiry.unwrap_or(BrokerConfig::SESSION_EXPIRY),
            ..BrokerConfig::new(name?, url?, client_id?)
        })
    }

    pub(super) fn credentials(&self, section: &mut Section<'_>) -> Option<Credentials> {
        let username = section.optional("username");
        let password_file = section.optional_as("password-file", |text| Ok(self.base.join(text)));
        if username.is_none() {
            section.refuse("password-file", "there is no username with it");
        }
        Some(Credentials {
            username: username?,
            password_file,
        })
    }

    pub(super) fn identity(&self, section: &mut Section<'_>) -> Option<Identity> {
        let certificate = section.optional_as("certificate", |text| Ok(self.base.join(text)));
        let key = section.optional_as("key", |text| Ok(self.base.join(text)));
        if certificate.is_none() {
            section.refuse("key", "there is no certificate with it");
        }
        if key.is_none() {
            section.refuse("certificate", "there is no key with it");
        }
        Some(Identity {
            certificate_file: certificate?,
            key_file: key?,
        })
    }
}

fn session_expiry(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time.as_secs() {
        0 => Err("a session of less than 1 s keeps nothing while the gateway is away".to_owned()),
        _ => Ok(time),
    }
}

/// Where the id is, and how many are remembered.
fn message_id_from(
    mut section: Section<'_>,
    protocol: Protocol,
) -> (Option<MessageIdFrom>, Option<usize>) {
    let property = section.optional("property").map(MessageIdFrom::Property);
    let field = section.optional("field").map(MessageIdFrom::Field);
    if property.is_some() == field.is_some() {
        section.problem(
            section.offset(""),
            "message-id has either a property or a field",
        );
    }
    if protocol == Protocol::Mqtt311 {
        let reason = "MQTT 3.1.1 has no user properties: name a field of the payload";
        section.refuse("property", reason);
    }
    let remembered = section.whole_number("remember", MESSAGE_IDS);
    section.end();
    (
        property.or(field),
        remembered.and_then(|count| usize::try_from(count).ok()),
    )
}
