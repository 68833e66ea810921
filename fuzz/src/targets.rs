//! What is fuzzed: each target runs a decoder over bytes from outside, and panics when the decoder does or when
//! something does not hold that must hold for any bytes.
//!
//! One place for both ways to run them: `cargo fuzz` (long, guided by coverage; see README.md here) and
//! `tests/fuzz_short.rs` (seconds, on the stable toolchain, part of every test run).

use bytes::Bytes;
use hongyan::{
    api::{
        auth,
        body::{self, Encoding},
    },
    config::{self, Setting, Sources},
    edge::{frames, tunnel},
    hub, mesh,
    model::{Content, MessageId, Stamp, UserKey, check_id},
    store::{codec, embedded},
    token::{self, Claims, TokenError},
};
use serde_json::Value;
use std::{fs, path::Path, sync::Arc};
use tempfile::TempDir;

/// A target takes any bytes.
pub type Target = fn(&[u8]);

/// All targets by name; the name is also the folder of seeds in `corpus/`.
pub const TARGETS: &[(&str, Target)] = &[
    ("frames", frames),
    ("body", api_body),
    ("token", user_token),
    ("ids", ids),
    ("content", content),
    ("rows", codec::fuzz_decoders),
    ("journal", embedded::fuzz_journal),
    ("config", configuration),
    ("mesh_hello", mesh::fuzz_hello),
    ("mesh_frames", mesh::fuzz_frames),
    ("mesh_members", mesh::fuzz_swim),
    ("tunnel", tunnel::wire::fuzz_wire),
    ("relay_frames", hub::fuzz_chunk),
];

const MAX_CONTENT: usize = 131_072;

/// A transport message of a client.
pub fn frames(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let decoded = frames::decode(text);
    // What is a frame, or an array of frames, must never end the connection.
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => {
            assert_eq!(decoded.as_ref().map(Vec::len).ok(), Some(1), "one object is one frame");
        }
        Ok(Value::Array(all)) if all.iter().all(Value::is_object) && all.len() <= frames::MAX_FRAMES => {
            assert_eq!(decoded.as_ref().map(Vec::len).ok(), Some(all.len()), "as many frames as objects");
        }
        Ok(_) => assert!(decoded.is_err(), "no frame"),
        // Numbers too large for a value may stand in what is not looked at.
        Err(_) => {}
    }
    let message = Bytes::copy_from_slice(data);
    let text = std::str::from_utf8(&message).expect("the same text");
    for frame in frames::decode(text).into_iter().flatten().flatten() {
        let Some(raw) = frame.content else { continue };
        let shared = frames::share(&message, raw.get());
        assert_eq!(shared, raw.get().as_bytes());
        assert!(
            !shared.is_empty() && message.as_ptr_range().contains(&shared.as_ptr()),
            "shared, not copied"
        );
        if let Ok(content) = Content::from_json(shared, MAX_CONTENT) {
            let _ = content.text();
        }
    }
}

/// A body of the server API, in both encodings, asked for what endpoints ask for.
pub fn api_body(data: &[u8]) {
    let _ = std::str::from_utf8(data)
        .map(|text| (Encoding::of(Some(text)), auth::signature("secret", text, text)));
    for encoding in [Encoding::Form, Encoding::Json] {
        let Ok(params) = body::decode(encoding, data) else { continue };
        for name in ["userId", "toUserId", "content", "objectName", "isCounted", "minute", ""] {
            let _ = params.text(name);
            let _ = params.short(name, 64);
            let _ = params.list(name, 100);
            let _ = params.map(name);
            let _ = params.number(name, 0..=u64::MAX);
            let _ = params.flag(name);
            let _ = params.ids(name, 100);
            if let Ok(id) = params.id(name) {
                assert_eq!(check_id(&id), Ok(()));
            }
            if let Ok(user) = params.user("app", name) {
                assert_eq!(user.app(), "app");
            }
        }
    }
}

/// A token: as text, as signed bytes of any content, and a good one with one byte changed.
pub fn user_token(data: &[u8]) {
    const SECRET: &str = "a secret of the app";
    let secret = |app: &str| (app == "app").then(|| Arc::from(SECRET));
    let now = Stamp(1_000);
    if let Ok(text) = std::str::from_utf8(data) {
        match token::verify(text, now, secret) {
            // There is one way to write a token.
            Ok(claims) => assert_eq!(token::issue(SECRET, &claims), text),
            Err(why) => _ = why.to_string(),
        }
    }
    let Some((numbers, rest)) = data.split_first_chunk::<18>() else { return };
    let number = |at: usize| u64::from_be_bytes(numbers[at..at + 8].try_into().expect("eight bytes"));
    let Some(user) = std::str::from_utf8(rest).ok().and_then(|id| UserKey::new("app", id).ok()) else {
        return;
    };
    let expires = (number(8) != 0).then_some(Stamp(number(8)));
    let claims = Claims { user, issued: Stamp(number(0)), expires };
    let text = token::issue(SECRET, &claims);
    assert!(text.len() <= token::MAX_TOKEN);
    match token::verify(&text, now, secret) {
        Ok(read) => assert_eq!((read, true), (claims, expires.is_none_or(|at| at > now))),
        Err(why) => {
            assert_eq!(Some(why), expires.filter(|at| *at <= now).map(|at| TokenError::Expired { at }));
        }
    }
    let mut forged = text.clone().into_bytes();
    let place = usize::from(numbers[16]) % forged.len();
    forged[place] ^= numbers[17];
    if let Ok(forged) = std::str::from_utf8(&forged)
        && forged != text
    {
        assert!(token::verify(forged, Stamp(0), secret).is_err(), "a changed token is good");
    }
}

/// Ids of users, apps and messages.
pub fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let good = check_id(text).is_ok();
    if let Ok(user) = UserKey::parse(text) {
        assert_eq!(UserKey::parse(user.as_str()).as_ref(), Ok(&user));
        assert_eq!(UserKey::new(user.app(), user.id()).as_ref(), Ok(&user));
        assert_eq!(user.sibling(text).is_ok(), good);
    }
    let (app, id) = text.split_at_checked(text.len() / 2).unwrap_or((text, ""));
    if let Ok(user) = UserKey::new(app, id) {
        assert_eq!((user.app(), user.id()), (app, id));
    }
    let ann = UserKey::new("app", "ann").expect("a good name");
    assert_eq!(good, ann.sibling(text).is_ok());
    let made = MessageId::of(&ann, text);
    assert_eq!(made.to_string().parse(), Ok(made));
    if let Ok(read) = text.parse::<MessageId>() {
        assert!(read.to_string().eq_ignore_ascii_case(text) || text.contains(['i', 'I', 'l', 'L', 'o', 'O']));
        assert_eq!(made.0 >> 80, read.0 >> 80, "the client's time is kept");
    }
}

/// Content of messages from the server API: any text.
pub fn content(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(content) = Content::from_text(text, MAX_CONTENT) else { return };
    let json = std::str::from_utf8(content.json()).expect("UTF-8");
    assert!(
        serde_json::from_str::<&serde_json::value::RawValue>(json).is_ok(),
        "content fits a frame as it stands"
    );
    assert_eq!(content.text(), text, "and is the text again");
}

/// The configuration: a file, variables and flags.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let folder = FOLDER.with(|folder| folder.path().to_owned());
    let file = folder.join("apps.toml");
    if fs::write(&file, text).is_err() {
        return;
    }
    let pairs: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).take(20).collect();
    let sources = Sources {
        file: Some(file),
        environment: pairs.iter().map(|(key, value)| (key.trim().into(), value.trim().into())).collect(),
        flags: pairs
            .iter()
            .map(|(key, value)| Setting {
                flag: "--set".into(),
                key: key.trim().into(),
                value: value.trim().into(),
            })
            .collect(),
    };
    match config::load(&sources) {
        Ok(loaded) => _ = config::changed(&loaded.config),
        Err(problems) => assert!(!problems.to_string().is_empty()),
    }
    match config::apps_file::load(&folder) {
        Ok(apps) => assert!(apps.iter().all(|app| config::is_name(&app.key))),
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}

thread_local! {
    /// A folder of this thread, in memory where there is such a file system; it goes with the thread.
    static FOLDER: TempDir = {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        tempfile::Builder::new().prefix("hongyan-fuzz-").tempdir_in(base).expect("a folder")
    };
}
