//! What a courier is told to bring, and what he brings: roots one by one, a deployment with its releases ([`Client::take`]),
//! blobs in pieces. Each call is short: whoever waits for a link waits elsewhere.

use tidegate_bundle::Digest;

use super::Client;
use crate::error::Error;
use crate::machine::{Command, Event, Set};
use crate::parcel::Parcel;
use crate::store::Blob;

/// What the client has, and what it lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wants {
    /// The version of the next root.
    pub root: u64,
    /// The newest deployment, if it need not come again: it is confirmed or on its way, with all its documents.
    pub known: Option<Digest>,
    /// Blobs that the sets lack, and how many bytes of each have come.
    pub blobs: Vec<(Blob, u64)>,
}

/// What came of a piece of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// More is to come.
    More,
    /// The blob is whole. What is left for the gateway to do, if it was the last that was missing.
    Whole(Vec<Command>),
}

impl Client {
    /// What it would be good to bring.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn wants(&self) -> Result<Wants, Error> {
        let (machine, trust) = (&self.state.machine, &self.state.trust);
        let mut known = trust.accepted().filter(|digest| machine.knows(*digest));
        let mut blobs = Vec::new();
        for set in machine.sets() {
            for blob in set.blobs().copied() {
                if self.store.has(blob)? || blobs.iter().any(|(other, _)| *other == blob) {
                    continue;
                }
                if set.artifacts.contains(&blob) {
                    // One that came whole and was not named begins anew.
                    let begun = self.store.begun(blob)?;
                    blobs.push((blob, if begun < blob.length { begun } else { 0 }));
                } else if known == Some(set.deployment) {
                    known = None; // Its documents come with it.
                }
            }
        }
        Ok(Wants {
            root: trust.root().root().version.saturating_add(1),
            known,
            blobs,
        })
    }

    /// Takes the root that follows ours.
    ///
    /// # Errors
    /// When it is none, and then nothing has changed; and where the log or state cannot be written.
    pub fn take_root(&mut self, parcel: &mut Parcel) -> Result<(), Error> {
        let taken = self.follow_roots(parcel);
        if let Err(error) = &taken {
            self.note_refusal(&parcel.from, error);
        }
        taken
    }

    /// The releases that a deployment names and that are not here, once it is known to be genuine and for this gateway.
    ///
    /// # Errors
    /// The reason why it will not be taken, whatever its releases are.
    pub fn lacking(&mut self, parcel: &Parcel) -> Result<Vec<Digest>, Error> {
        let lacking = self.look_through(parcel);
        if let Err(error) = &lacking {
            self.note_judged(parcel.deployment.as_deref().unwrap_or_default(), error);
            self.note_refusal(&parcel.from, error);
        }
        lacking
    }

    /// Takes the piece of a wanted blob that begins at byte `at`; the first begins it anew.
    ///
    /// # Errors
    /// When nothing wants it, or the store refuses it.
    pub fn take_piece(
        &mut self,
        from: &str,
        blob: Blob,
        at: u64,
        piece: &[u8],
    ) -> Result<Piece, Error> {
        let is_wanted = |set: &Set| set.artifacts.contains(&blob);
        if !self.state.machine.sets().any(is_wanted) {
            return Err(Error::Nothing("to be had of this blob"));
        }
        if at == 0 {
            self.store.forget(blob)?;
        }
        match self.store.append(blob, at, piece) {
            Ok(false) => Ok(Piece::More),
            Ok(true) => Ok(Piece::Whole(self.complete()?)),
            Err(error) => {
                let error = Error::Store(error);
                self.note_refusal(from, &error);
                Err(error)
            }
        }
    }

    /// Goes on if all that the deployment on its way needs is here: what is left for the gateway to do.
    ///
    /// # Errors
    /// As [`Client::on`].
    pub fn complete(&mut self) -> Result<Vec<Command>, Error> {
        match self.is_complete() {
            true => self.advance(self.state.trust.clone(), Event::Stored),
            false => Ok(Vec::new()),
        }
    }

    fn look_through(&self, parcel: &Parcel) -> Result<Vec<Digest>, Error> {
        let bytes = parcel.deployment.as_deref();
        let bytes = bytes.ok_or_else(|| Error::NoDeployment {
            source_name: parcel.from.clone(),
        })?;
        let (trust, gateway) = (&self.state.trust, &self.site.gateway);
        let deployment = trust.check_deployment(gateway, self.now(), bytes)?;
        let mut lacking = Vec::new();
        for digest in deployment.releases() {
            let ours = self.state.machine.release(digest);
            match ours.map(|blob| self.store.has(blob)).transpose()? {
                Some(true) => {}
                Some(false) | None => lacking.push(digest),
            }
        }
        Ok(lacking)
    }
}
