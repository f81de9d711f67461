//! A folder, held open. Everything in it is reached by one plain name from there, and no link is ever followed.
//!
//! What is written appears as a whole or not at all, and is on disk when the call returns: another name first, then
//! fsync, then the name, then fsync of the folder.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// What a file is called until it is whole.
const PART: &str = ".part";
const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);

/// A folder that only this user may enter.
#[derive(Debug)]
pub(crate) struct Folder {
    fd: OwnedFd,
}

impl Folder {
    /// Opens it; makes it, with mode 0700, where there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { fd })
    }

    /// Opens a regular file to read. None where there is nothing of that name.
    pub(crate) fn file(&self, name: &str) -> io::Result<Option<File>> {
        // Not blocking: a pipe of that name must not hold up anybody before it is looked at.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(&self.fd, plain(name)?, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            opened => opened?,
        };
        let file = File::from(fd);
        match file.metadata()?.is_file() {
            true => Ok(Some(file)),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not a regular file",
            )),
        }
    }

    /// Reads a regular file of at most `bytes_max` into memory. None where there is nothing of that name.
    pub(crate) fn read(&self, name: &str, bytes_max: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(file) = self.file(name)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(bytes_max.saturating_add(1))
            .read_to_end(&mut bytes)?;
        match length(&bytes) > bytes_max {
            true => Err(io::ErrorKind::FileTooLarge.into()),
            false => Ok(Some(bytes)),
        }
    }

    /// Bytes of a regular file. None where there is none.
    pub(crate) fn length(&self, name: &str) -> io::Result<Option<u64>> {
        match rustix::fs::statat(&self.fd, plain(name)?, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Ok(None),
            stat => {
                let stat = stat?;
                let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
                Ok(is_file.then(|| u64::try_from(stat.st_size).unwrap_or(0)))
            }
        }
    }

    /// Begins a file that [`Folder::finish`] gives its name. What another attempt left of it is gone.
    pub(crate) fn begin(&self, name: &str) -> io::Result<File> {
        self.abandon(name)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, plain(&part(name))?, flags, PRIVATE_FILE)?;
        Ok(File::from(fd))
    }

    /// Gives a file its name, once it is on disk.
    pub(crate) fn finish(&self, name: &str, file: &File) -> io::Result<()> {
        file.sync_all()?;
        rustix::fs::renameat(&self.fd, part(name), &self.fd, plain(name)?)?;
        self.sync()
    }

    /// Removes what was begun under a name.
    pub(crate) fn abandon(&self, name: &str) -> io::Result<()> {
        self.remove(&part(name))
    }

    /// Puts these bytes in the place of whatever is there.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        #[cfg(feature = "faults")]
        if crate::faults::overwrites() {
            return crate::faults::overwrite(self, name, bytes);
        }
        let mut file = self.begin(name)?;
        file.write_all(bytes)?;
        self.finish(name, &file)
    }

    /// Opens a file to append to; makes it where there is none.
    pub(crate) fn append(&self, name: &str) -> io::Result<File> {
        let file = self.extend(name)?;
        self.sync()?;
        Ok(file)
    }

    /// The same; that its name is on disk is not waited for.
    pub(crate) fn extend(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::WRONLY
            | OFlags::CREATE
            | OFlags::APPEND
            | OFlags::NOFOLLOW
            | OFlags::CLOEXEC
            | OFlags::NONBLOCK;
        let fd = rustix::fs::openat(&self.fd, plain(name)?, flags, PRIVATE_FILE)?;
        Ok(File::from(fd))
    }

    /// Gives a file another name, in the place of whatever has it.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        rustix::fs::renameat(&self.fd, plain(from)?, &self.fd, plain(to)?)?;
        self.sync()
    }

    /// Removes a file, or a link itself. That there is none is as good.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.fd, plain(name)?, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Removes what was begun and not finished: of it nobody has been told.
    pub(crate) fn remove_unfinished(&self) -> io::Result<()> {
        let names = self.names()?;
        let unfinished = names.iter().filter(|name| name.ends_with(PART));
        unfinished
            .into_iter()
            .try_for_each(|name| self.remove(name))
    }

    /// All names that are text. What has another is not ours.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| plain(name).is_ok());
        Ok(names)
    }

    /// Names are on disk when this returns.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }
}

fn part(name: &str) -> String {
    format!("{name}{PART}")
}

/// A name and never a path, whoever made it up.
fn plain(name: &str) -> io::Result<&str> {
    match name {
        "" | "." | ".." => Err(io::ErrorKind::InvalidInput.into()),
        name if name.contains(['/', '\0']) => Err(io::ErrorKind::InvalidInput.into()),
        name => Ok(name),
    }
}

/// A length as the documents count it.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_replaced_reads_back_and_nothing_else_is_left() {
        let path = tempfile::tempdir().unwrap();
        let folder = Folder::open(&path.path().join("a/b")).unwrap();
        folder.replace("x", b"one").unwrap();
        folder.replace("x", b"two").unwrap();
        assert_eq!(folder.read("x", 3).unwrap().unwrap(), b"two");
        assert_eq!(folder.length("x").unwrap(), Some(3));
        assert_eq!(folder.names().unwrap(), ["x"]);
        assert!(folder.read("y", 3).unwrap().is_none());
        let too_large = folder.read("x", 2).unwrap_err();
        assert_eq!(too_large.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn neither_a_path_nor_a_link_leads_out_of_the_folder() {
        let path = tempfile::tempdir().unwrap();
        std::fs::write(path.path().join("outside"), b"secret").unwrap();
        let folder = Folder::open(&path.path().join("inside")).unwrap();
        for name in ["../outside", "/etc/passwd", "..", ".", "", "a\0b"] {
            assert!(folder.read(name, 99).is_err(), "{name:?}");
            assert!(folder.replace(name, b"x").is_err(), "{name:?}");
            assert!(folder.remove(name).is_err(), "{name:?}");
        }
        let link = path.path().join("inside/link");
        std::os::unix::fs::symlink("../outside", &link).unwrap();
        assert!(folder.read("link", 99).is_err());
        assert_eq!(folder.length("link").unwrap(), None);
        assert!(folder.append("link").is_err());
        // Control: the same link, followed.
        assert_eq!(std::fs::read(&link).unwrap(), b"secret");
        folder.replace("link", b"ours").unwrap();
        let outside = std::fs::read(path.path().join("outside")).unwrap();
        assert_eq!(outside, b"secret");
    }
}
