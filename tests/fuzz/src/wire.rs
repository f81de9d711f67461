//! Sync requests, the centre's answers, and exports.

use minicbor::{Decode, Encode};
use tidegate_bundle::{Chain, ContentKey, OpeningKey, PREFACE_BYTES, PublicKey, SEAL_BYTES};
use tidegate_bundle::{SIGNATURE_BYTES, SigningKey};
use tidegate_record::{Epoch, Name, WallTime};
use tidegate_wire::export::{EXPORT_VERSION, FRAME_BYTES_MAX, Frames, frame, preamble};
use tidegate_wire::{Chunk, End, Error, Head, Part, SyncReply, SyncRequest, decode, encode};

use crate::fleet::KEY;
use crate::{Chance, Subject};

/// What a gateway sends to the centre.
#[derive(Debug)]
pub struct Request;

/// What the centre answers.
#[derive(Debug)]
pub struct Reply;

/// Rows in a file.
#[derive(Debug)]
pub struct Export;

const WIRE: &str = include_str!("../../../docs/formats/wire.md");
const EXPORT: &str = include_str!("../../../docs/formats/export.md");

/// What an input here may expand to.
const EXPANDED_BYTES_MAX: usize = 1 << 20;

impl Subject for Request {
    fn seeds() -> Vec<Vec<u8>> {
        ["request", "degraded"]
            .map(|name| compress(&block(WIRE, name)))
            .into()
    }

    fn check(input: &[u8]) {
        let Some(request) = reads_the_same::<SyncRequest>(input) else {
            return;
        };
        let names = request.rows.iter().flat_map(|stream| {
            let modules = stream.rows.iter().map(|row| &row.module);
            modules.chain([&stream.of.stream])
        });
        for name in names.chain([&request.gateway]) {
            assert!(Name::new(name.as_str()).is_ok(), "{name} is no name");
        }
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        change_message(input, chance)
    }
}

impl Subject for Reply {
    fn seeds() -> Vec<Vec<u8>> {
        ["reply", "paced"]
            .map(|name| compress(&block(WIRE, name)))
            .into()
    }

    fn check(input: &[u8]) {
        reads_the_same::<SyncReply>(input);
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        change_message(input, chance)
    }
}

/// Reads a message. What is written again, and read again, is the same to the byte; numbers that are none are not equal
/// to themselves.
fn reads_the_same<M: Encode<()> + for<'b> Decode<'b, ()>>(input: &[u8]) -> Option<M> {
    let message: M = decode(input).ok()?;
    let written = match encode(&message) {
        // Short numbers are written long: what was near the bound can grow beyond it.
        Err(Error::TooLarge { .. }) => return None,
        written => written.expect("what was read can be written"),
    };
    let again: M = decode(&written).expect("and read again");
    assert!(encode(&again).is_ok_and(|again| again == written));
    Some(message)
}

fn change_message(message: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
    let mut expanded = zstd::bulk::decompress(message, EXPANDED_BYTES_MAX).ok()?;
    chance.change(&mut expanded);
    Some(compress(&expanded))
}

fn compress(message: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(message, 1).expect("a message can be compressed")
}

/// The bytes in a code block of this name.
fn block(page: &str, name: &str) -> Vec<u8> {
    let begin = format!("\n```{name}\n");
    let (_, rest) = page.split_once(&begin).expect("the page has the vector");
    let (hex, _) = rest.split_once("```").expect("the vector ends");
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    let byte = |pair: &[u32]| u8::try_from(pair.iter().fold(0, |byte, digit| byte * 16 + digit));
    digits
        .chunks(2)
        .map(|pair| byte(pair).expect("two digits"))
        .collect()
}

/// The device of the documented chunks.
fn documented_device() -> PublicKey {
    SigningKey::from_seed(&[7; 32]).public_key()
}

impl Subject for Export {
    fn seeds() -> Vec<Vec<u8>> {
        let part = |part| {
            let gateway = Name::new("gw-1").expect("a name");
            let chunk = Chunk {
                version: EXPORT_VERSION,
                gateway,
                part,
            };
            encode(&chunk).expect("a chunk can be written")
        };
        let head = Head {
            epoch: Epoch {
                ordinal: 3,
                random: 7,
            },
            database: 11,
            created: WallTime(1_800_000_000_000_000_000),
            device_key: *KEY.public_key().as_bytes(),
        };
        let request: SyncRequest = decode(&compress(&block(WIRE, "degraded"))).expect("a request");
        let chunks = [
            part(Part::Head(head)),
            part(Part::Rows(request.rows)),
            part(Part::End(End { rows: 2 })),
        ];
        let documented = ["first", "second"].map(|name| block(EXPORT, name));
        let sealed = [block(EXPORT, "piece")];
        vec![
            file(&[], &signed(&chunks)),
            file(&[], &documented),
            file(&block(EXPORT, "preface"), &sealed),
        ]
    }

    fn check(input: &[u8]) {
        let Ok(mut frames) = Frames::open(input) else {
            return;
        };
        let preface = frames.preface().to_vec();
        let mut written = preamble(&preface).expect("what was read can be written");
        let (mut own, mut documented) = (Chain::start(), Chain::start());
        while let Ok(Some(content)) = frames.next_frame() {
            assert!((1..=FRAME_BYTES_MAX).contains(&content.len()));
            written.extend(frame(&content).expect("what was read can be written"));
            check_sealed(&preface, &content);
            if let Ok(chunk) = documented.verify(&documented_device(), &content) {
                assert!(
                    [&b"first"[..], b"second"].contains(&chunk),
                    "a forged chunk"
                );
            }
            if let Ok(chunk) = own.verify(&KEY.public_key(), &content) {
                reads_the_same::<Chunk>(chunk);
            }
        }
        let whole = usize::try_from(frames.offset()).ok();
        assert_eq!(whole, Some(written.len()));
        assert_eq!(input.get(..written.len()), Some(written.as_slice()));
    }

    fn change(input: &[u8], chance: &mut Chance) -> Option<Vec<u8>> {
        let mut frames = Frames::open(input).ok()?;
        let preface = frames.preface().to_vec();
        let mut all = Vec::new();
        while let Ok(Some(content)) = frames.next_frame() {
            all.push(content);
        }
        let at = chance.below(all.len());
        if preface.is_empty() && chance.below(4) > 0 {
            let chunk = |content: &Vec<u8>| content.get(SIGNATURE_BYTES..).map(<[u8]>::to_vec);
            let mut chunks: Vec<_> = all.iter().filter_map(chunk).collect();
            let chunk = chunks.get_mut(at)?;
            *chunk = change_message(chunk, chance)?;
            return Some(file(&preface, &signed(&chunks)));
        }
        chance.change(all.get_mut(at)?);
        all.retain(|content| !content.is_empty());
        Some(file(&preface, &all))
    }
}

/// Nobody but the holder of the centre's key, which is documented, has sealed but the one piece that is.
fn check_sealed(preface: &[u8], content: &[u8]) {
    let Ok(key) = ContentKey::open(preface, &opening_key()) else {
        return;
    };
    assert_eq!(preface.len(), PREFACE_BYTES);
    if let Ok(piece) = key.open_piece(content) {
        assert_eq!(piece, b"rows", "a forged piece");
        assert_eq!(content.len(), piece.len() + SEAL_BYTES);
    }
}

fn opening_key() -> OpeningKey {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode([5; 32]);
    OpeningKey::parse(&format!("tidegate-x25519-secret:{text}")).expect("the documented key")
}

/// The chunks, signed by our key.
fn signed(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut chain = Chain::start();
    chunks.iter().map(|chunk| chain.sign(&KEY, chunk)).collect()
}

fn file(preface: &[u8], frames: &[Vec<u8>]) -> Vec<u8> {
    let mut file = preamble(preface).expect("a preface is short");
    for content in frames {
        file.extend(frame(content).unwrap_or_default());
    }
    file
}
