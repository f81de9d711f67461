//! The way out: what is published on a connection, and what the broker says to it.

use tidegate_record::Publication;

use super::Session;
use crate::broker::Link;
use crate::counters::count;
use crate::courier::Letter;
use crate::inflight::Sent;

impl Session {
    /// Sends what waits, as far as there is room; actuations first.
    pub(super) fn publish_waiting(&mut self, link: &mut Link) {
        while self.inflight.has_room() && self.connection.has_room() {
            let Ok(publication) = link.at_once.try_recv() else {
                break;
            };
            self.publish(publication, link);
        }
        while self.inflight.has_room_for_durable() && self.connection.has_room() {
            let Some(letter) = link
                .to_send
                .pop_front()
                .or_else(|| link.letters.try_recv().ok())
            else {
                break;
            };
            self.post(letter, link);
        }
    }

    pub(super) fn publish(&mut self, publication: Publication, link: &Link) {
        match self.inflight.insert(Sent::AtOnce) {
            None => count(&link.counters.publish_dropped),
            Some(packet_id) => self.send(packet_id, &publication, link),
        }
    }

    fn post(&mut self, (id, publication): Letter, link: &mut Link) {
        match self.inflight.insert(Sent::Durable(id, publication.clone())) {
            None => link.to_send.push_front((id, publication)),
            Some(packet_id) => self.send(packet_id, &publication, link),
        }
    }

    /// Encodes a publication. One that the broker is known not to take counts as refused by it.
    fn send(&mut self, packet_id: u16, publication: &Publication, link: &Link) {
        let written = match publication.retain && !self.welcome.retain_available {
            true => Err("the broker keeps no retained messages".into()),
            false => {
                let packet_bytes_max = self.welcome.packet_bytes_max;
                self.connection
                    .write_publish(publication, packet_id, packet_bytes_max)
            }
        };
        if let Err(error) = written {
            self.published(packet_id, Some(error.to_string()), link);
        }
    }

    /// The broker has a publication, or refused it; either way it is not sent again.
    pub(super) fn published(&mut self, packet_id: u16, refused: Option<String>, link: &Link) {
        let Some(sent) = self.inflight.remove(packet_id) else {
            return;
        };
        match refused {
            None => count(&link.counters.published),
            Some(reason) => {
                tracing::error!(broker = %link.name, reason, "publication refused");
                count(&link.counters.publish_refused);
            }
        }
        if let Sent::Durable(id, _) = sent {
            // There is room for every letter that the courier handed out; it is gone only when the run is over.
            link.receipts.try_send(id).ok();
        }
    }
}
