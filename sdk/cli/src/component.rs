//! What a component imports and exports, and whether a gateway would run it.
//!
//! Only names are compared here: the engine links by name and version, so a wrong name is the mistake that people
//! make. That the types behind the names fit is shown by `tide test`, which runs the component in the real engine.

use tidegate_bundle::{Digest, WORLD};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};

/// The export that makes a component a module.
const ENTRY: &str = "tidegate:module/entry@0.1.0";
const TYPES: &str = "tidegate:module/types@0.1.0";
/// The contract's imports, and what each is to a module.
const CONTRACT: [(&str, &str); 4] = [
    ("wasi:config/store@0.2.0-rc.1", "its configuration"),
    ("wasi:keyvalue/store@0.2.0-draft", "its own state"),
    ("wasi:logging/logging@0.1.0-draft", "its log"),
    ("tidegate:module/metrics@0.1.0", "its metrics"),
];
/// Packages of the WASI 0.2 baseline, which is linked to every module and holds nothing.
const BASELINE: [&str; 5] = [
    "wasi:cli/",
    "wasi:clocks/",
    "wasi:filesystem/",
    "wasi:io/",
    "wasi:random/",
];

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("it is no valid WebAssembly: {0}")]
    Invalid(#[from] wasmparser::BinaryReaderError),
    #[error("it is a core module, not a component: build it with tide build")]
    CoreModule,
    #[error(
        "it does not export {ENTRY}: use an attribute of tidegate_sdk, or tidegate_sdk::export!"
    )]
    NoEntry,
    #[error(
        "it imports {} beyond the contract: do without, or name it in [capabilities] wasi of tide.toml \
         (the site must then grant it)", .0.join(", ")
    )]
    NotAsked(Vec<String>),
}

/// What stands in a component.
#[derive(Debug)]
pub(crate) struct Component {
    pub(crate) imports: Vec<String>,
    pub(crate) exports: Vec<String>,
    pub(crate) size: usize,
    pub(crate) digest: Digest,
}

impl Component {
    /// Validates a component and reads its outermost imports and exports.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, Error> {
        let (mut imports, mut exports) = (Vec::new(), Vec::new());
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version {
                    encoding: Encoding::Module,
                    ..
                } if depth == 0 => return Err(Error::CoreModule),
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        exports.push(export?.name.name.to_owned());
                    }
                }
                _ => {}
            }
        }
        let features = WasmFeatures::default() | WasmFeatures::COMPONENT_MODEL;
        Validator::new_with_features(features).validate_all(bytes)?;
        Ok(Self {
            imports,
            exports,
            size: bytes.len(),
            digest: Digest::of(bytes),
        })
    }

    /// Whether a gateway runs it, when `asked` is what the release asks for beyond the contract.
    pub(crate) fn check(&self, asked: &[String]) -> Result<(), Error> {
        if !self.is_module() {
            return Err(Error::NoEntry);
        }
        let surprising: Vec<String> = self
            .beyond_contract()
            .filter(|import| !asked.iter().any(|name| name == import))
            .map(str::to_owned)
            .collect();
        if surprising.is_empty() {
            Ok(())
        } else {
            Err(Error::NotAsked(surprising))
        }
    }

    /// The world that it is built for, if it is one of ours.
    pub(crate) fn world(&self) -> Option<&'static str> {
        self.is_module().then_some(WORLD)
    }

    /// Its imports in words, the baseline as one.
    pub(crate) fn imports_in_words(&self) -> Vec<String> {
        let ours = CONTRACT
            .iter()
            .filter(|(name, _)| self.imports.iter().any(|import| import == name));
        let mut words: Vec<String> = ours
            .map(|(name, words)| format!("{words} ({name})"))
            .collect();
        let baseline = self
            .imports
            .iter()
            .filter(|import| is_baseline(import))
            .count();
        if baseline > 0 {
            words.push(format!("the empty WASI baseline ({baseline} interfaces: no files, no network, virtual clocks)"));
        }
        words.extend(
            self.beyond_contract()
                .map(|import| format!("beyond the contract: {import}")),
        );
        words
    }

    fn is_module(&self) -> bool {
        self.exports.iter().any(|export| export == ENTRY)
    }

    fn beyond_contract(&self) -> impl Iterator<Item = &str> {
        let known =
            |import: &str| import == TYPES || CONTRACT.iter().any(|(name, _)| *name == import);
        self.imports
            .iter()
            .map(String::as_str)
            .filter(move |import| !known(import) && !is_baseline(import))
    }
}

fn is_baseline(import: &str) -> bool {
    let version = import.rsplit_once('@').map(|(_, version)| version);
    let is_0_2 = version
        .and_then(|version| version.strip_prefix("0.2."))
        .is_some_and(|patch| patch.parse::<u32>().is_ok());
    is_0_2 && BASELINE.iter().any(|package| import.starts_with(package))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(imports: &[&str], exports: &[&str]) -> Component {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Component {
            imports: owned(imports),
            exports: owned(exports),
            size: 0,
            digest: Digest::of(b""),
        }
    }

    #[test]
    fn an_import_beyond_the_contract_is_named_unless_asked_for() {
        let sockets = "wasi:sockets/tcp@0.2.6";
        let honest = [
            "wasi:keyvalue/store@0.2.0-draft",
            TYPES,
            "wasi:cli/stdout@0.2.6",
            "wasi:io/streams@0.2.0",
        ];
        assert!(component(&honest, &[ENTRY]).check(&[]).is_ok());
        let greedy = component(&[honest[0], sockets], &[ENTRY]);
        match greedy.check(&[]).unwrap_err() {
            Error::NotAsked(names) => assert_eq!(names, [sockets]),
            other => panic!("{other}"),
        }
        assert!(greedy.check(&[sockets.to_owned()]).is_ok());
    }

    #[test]
    fn a_name_that_only_looks_like_the_contract_is_beyond_it() {
        for import in [
            "wasi:keyvalue/store@0.2.0",
            "wasi:keyvalue/atomics@0.2.0-draft",
            "wasi:cli/stdout@0.3.0",
            "env",
            "wasi:http/types@0.2.6",
        ] {
            assert!(
                component(&[import], &[ENTRY]).check(&[]).is_err(),
                "{import}"
            );
        }
    }

    #[test]
    fn only_a_component_with_our_entry_is_a_module() {
        assert!(matches!(
            component(&[], &["wasi:cli/run@0.2.6"]).check(&[]),
            Err(Error::NoEntry)
        ));
        assert!(matches!(
            Component::read(b"\0asm\x01\0\0\0"),
            Err(Error::CoreModule)
        ));
        assert!(
            Component::read(b"\0asm\x0d\0\x01\0")
                .unwrap()
                .exports
                .is_empty()
        );
        assert!(matches!(
            Component::read(b"not wasm at all"),
            Err(Error::Invalid(_))
        ));
    }
}
