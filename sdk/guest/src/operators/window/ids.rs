//! The names of series in the state.

use std::rc::Rc;

use crate::message::{Channel, ClockQuality, Message};
use crate::template::Template;

/// Names series in the state: `w/` and the key, or `u`, the boot, `/` and the key for messages of an unset clock.
/// Remembers the last ones, since messages of few channels come together.
#[derive(Default)]
pub(super) struct SeriesIds(Vec<(Rc<Channel>, bool, String)>);

impl SeriesIds {
    const REMEMBERED: usize = 8;

    pub(super) fn of(&mut self, message: &Message<()>, key: &Template, boot: u64) -> &str {
        let unset = message.clock == ClockQuality::Unset;
        let is_same = |(channel, was_unset, _): &(Rc<Channel>, bool, String)| {
            Rc::ptr_eq(channel, &message.channel) && *was_unset == unset
        };
        let known = self.0.iter().position(is_same);
        let position = known.unwrap_or_else(|| {
            if self.0.len() >= Self::REMEMBERED {
                self.0.clear();
            }
            let key = key.render(&message.channel);
            let id = if unset {
                format!("u{boot:x}/{key}")
            } else {
                format!("w/{key}")
            };
            self.0.push((Rc::clone(&message.channel), unset, id));
            self.0.len() - 1
        });
        self.0.get(position).map_or("", |(_, _, id)| id)
    }
}

/// The key in a series' id.
pub(super) fn key_of(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, key)| key)
}

/// Why a message that would need more state is rejected.
pub(super) fn no_room(id: &str) -> String {
    let key = key_of(id);
    format!("no room for more of key {key:?}: the windows fill their part of the state")
}

pub(super) fn is_of_another_unset_clock(id: &str, boot: u64) -> bool {
    id.strip_prefix('u')
        .and_then(|id| id.split_once('/'))
        .is_some_and(|(of, _)| of != format!("{boot:x}"))
}
