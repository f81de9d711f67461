//! Rows to a broker in place of a centre, against a real one.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::broker::Broker;
use tidegate_tests::link::Link;
use tidegate_tests::listener::{Heard, Listener};
use tidegate_tests::plant::{JOURNAL, Options, Plant, guest, signed};
use tidegate_tests::publisher::Publisher;
use tidegate_tests::site::Site;
use tidegate_tests::tools::{Tool, available};
use tidegate_tests::wait::wait_until;

const BROKER: [Tool; 2] = [Tool::Mosquitto, Tool::MosquittoPub];
/// After failures the uplink waits up to a minute.
const AFTER_FAILURES: Duration = Duration::from_secs(90);

/// Publishes messages `from..to` and waits until the plant's broker has them.
fn publish(site: &Site, from: u64, to: u64) {
    let mut publisher = Publisher::connect(site.broker.port(), "numbers", 100).unwrap();
    for number in from..to {
        publisher
            .publish("m/1", format!("{{\"seq\":{number}}}").as_bytes())
            .unwrap();
    }
    publisher.finish().unwrap();
}

/// What a consumer has heard: numbers by the identity of their rows.
#[derive(Default)]
struct Consumer {
    rows: BTreeMap<String, u64>,
    heard: usize,
}

impl Consumer {
    fn hear(&mut self, listener: &Listener) {
        for heard in listener.waiting() {
            self.take(&heard);
        }
    }

    fn take(&mut self, heard: &Heard) {
        assert_eq!(heard.topic, "tidegate/gateway-1/journal");
        let row: Value = serde_json::from_slice(&heard.payload).unwrap();
        let (id, number) = (&row["id"], row["values"]["seq"].as_u64().unwrap());
        let before = self.rows.insert(id.as_str().unwrap().to_owned(), number);
        assert!(before.is_none_or(|before| before == number), "{row}");
        self.heard += 1;
    }

    /// The broker was killed: what it had sent has arrived, and the connection is at its end.
    fn hear_to_the_end(&mut self, listener: Listener) {
        for heard in listener.rest() {
            self.take(&heard);
        }
    }

    fn numbers(&self) -> BTreeSet<u64> {
        self.rows.values().copied().collect()
    }
}

fn await_numbers(site: &Site, consumer: &mut Consumer, listener: &Listener, wanted: u64) {
    let what = format!("{wanted} rows at the consumer");
    let waited = wait_until(&what, AFTER_FAILURES, || {
        consumer.hear(listener);
        Ok(consumer.numbers() == (0..wanted).collect())
    });
    waited.unwrap_or_else(|error| {
        let (there, log) = (consumer.rows.len(), site.gateway.log().unwrap());
        let status = site.gateway.status().unwrap();
        panic!("{error}; there are {there}; {:#}\n{log}", status["uplink"])
    });
}

#[test]
fn a_broker_gets_every_row_whatever_kills_it_and_its_identity_tells_repetitions() {
    let name = "a_broker_gets_every_row_whatever_kills_it_and_its_identity_tells_repetitions";
    if !available(name, &BROKER).unwrap() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(directory.path()).unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.port()));
    let link = Link::to(address).unwrap();
    let section = format!(
        "[uplink.second]\nurl = \"mqtt://{}\"\nwhen = \"mirror\"\n",
        link.address()
    );
    let options = Options {
        sections: &section,
        ..Options::default()
    };
    let plant = Plant::start(options, |workshop, _| {
        Ok(vec![signed(workshop, &guest("journal"), JOURNAL)?])
    });
    let site = &plant.unwrap().site;
    let mut consumer = Consumer::default();
    let listener = Listener::subscribe(broker.port(), "consumer", "tidegate/#").unwrap();
    publish(site, 0, 1000);
    await_numbers(site, &mut consumer, &listener, 1000);
    assert_eq!(
        consumer.heard, 1000,
        "nothing went wrong, so nothing came twice"
    );

    // Killed while rows flow; nobody listens to the new one before the link is mended.
    publish(site, 1000, 4000);
    link.cut();
    broker.restart().unwrap();
    consumer.hear_to_the_end(listener);
    let listener = Listener::subscribe(broker.port(), "consumer", "tidegate/#").unwrap();
    publish(site, 4000, 5000);
    link.mend();
    await_numbers(site, &mut consumer, &listener, 5000);

    // The centre beside it has not noticed.
    let drained = || {
        let status = site.gateway.status()?;
        let uplink = &status["uplink"];
        Ok(uplink["rows_waiting"] == 0 && uplink["second"]["rows_waiting"] == 0)
    };
    wait_until("nothing to wait for either", AFTER_FAILURES, drained).unwrap();
    assert_eq!(site.cloud.count("gateway-1", "journal").unwrap(), 5000);
}
