//! The exchange in `docs/protocol.md` is what a node really says.

mod common;

use common::{Hello, Line, TestNode, soon};
use serde_json::{Map, Value};
use std::collections::HashMap;

const PAGE: &str = include_str!("../docs/protocol.md");

/// One part of the exchange: whose, and its lines.
fn blocks(page: &str) -> Vec<(String, Vec<String>)> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(who) = line.strip_prefix("```exchange ") {
            let body = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned);
            blocks.push((who.to_owned(), body.collect()));
        }
    }
    blocks
}

/// Words in capitals become texts of their own kind, so that the rest is JSON.
fn template(line: &str) -> Value {
    let (mut out, mut inside, mut word) = (String::new(), false, String::new());
    for c in line.chars().chain([' ']) {
        if !inside && (c.is_ascii_uppercase() || (!word.is_empty() && c.is_ascii_digit())) {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            out += &format!("\"{}\"", std::mem::take(&mut word));
        }
        inside ^= c == '"';
        out.push(c);
    }
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {line}"))
}

fn is_placeholder(text: &str) -> bool {
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    ["TOKEN", "SESSION", "TIME", "ID", "AT", "POS"].contains(&name)
}

/// What the words in capitals stand for.
#[derive(Default)]
struct Words(HashMap<String, Value>);

impl Words {
    /// The template with the words' values.
    fn filled(&self, template: &Value) -> Value {
        match template {
            Value::String(text) if is_placeholder(text) => self.0.get(text).cloned().unwrap_or_else(|| {
                panic!("{text} is used before it is known");
            }),
            Value::Array(items) => items.iter().map(|item| self.filled(item)).collect(),
            Value::Object(fields) => {
                let fields: Map<_, _> = fields.iter().map(|(k, v)| (k.clone(), self.filled(v))).collect();
                fields.into()
            }
            other => other.clone(),
        }
    }

    /// Learns from `frame` what words new in `template` stand for.
    fn learn(&mut self, template: &Value, frame: &Value) {
        match (template, frame) {
            (Value::String(text), value) if is_placeholder(text) && !self.0.contains_key(text) => {
                let number = value.as_u64().is_some_and(|number| number > 0);
                let text_due = text.starts_with("ID") || text.starts_with("SESSION");
                assert!(if text_due { value.is_string() } else { number }, "{text} is {value}");
                self.0.insert(text.clone(), value.clone());
            }
            (Value::Array(items), Value::Array(values)) => {
                items.iter().zip(values).for_each(|(item, value)| self.learn(item, value));
            }
            (Value::Object(fields), Value::Object(values)) => {
                for (key, value) in fields.iter().filter_map(|(key, t)| Some((t, values.get(key)?))) {
                    self.learn(key, value);
                }
            }
            _ => {}
        }
    }
}

/// Says what `who` says in this block and checks what it hears.
async fn run(words: &mut Words, line: &mut Option<Line>, lines: &[String], hello: &Hello) {
    for text in lines {
        let (side, frame) = text.split_at(2);
        let template = template(frame);
        if side == "< " {
            let line = line.as_mut().expect("hello comes first");
            let got = soon(frame, line.next()).await.unwrap_or_else(|end| panic!("{frame}: {end:?}"));
            words.learn(&template, &got);
            assert_eq!(got, words.filled(&template), "\nthe page: {frame}\nthe node: {got}");
            continue;
        }
        assert_eq!(side, "> ");
        words.0.insert("TOKEN".into(), hello.token.clone().into());
        let say = words.filled(&template);
        match say["t"].as_str() {
            Some("hello") if hello.polling => {
                *line = Some(Line::poll(hello.address, &say).await.unwrap().unwrap());
            }
            Some("hello") => {
                let mut fresh = Line::ws(hello.address).await.unwrap();
                fresh.send(&say).await.unwrap();
                *line = Some(fresh);
            }
            Some("bye") => {
                let mut over = line.take().unwrap();
                over.send(&say).await.unwrap();
                let code = if hello.polling { 404 } else { 1000 };
                assert_eq!(over.closed().await.code(), code);
            }
            _ => line.as_mut().expect("hello comes first").send(&say).await.unwrap(),
        }
    }
}

async fn exchange(polling: bool) {
    let node = TestNode::start().await;
    let mut hellos = HashMap::new();
    for (id, name) in [("ann", "Ann"), ("bo", "Bo")] {
        let body = node.api().post("user/getToken", &[("userId", id), ("name", name)]).await;
        let token = body["token"].as_str().unwrap().to_owned();
        hellos.insert(id, Hello { token, polling, ..node.device(id, "") });
    }
    let mut lines: HashMap<String, Option<Line>> = HashMap::new();
    let mut words = Words::default();
    let blocks = blocks(PAGE);
    assert!(blocks.len() >= 5, "the page has its exchange");
    for (who, block) in blocks {
        run(&mut words, lines.entry(who.clone()).or_default(), &block, &hellos[&*who]).await;
    }
    node.stop().await.unwrap();
}

#[tokio::test]
async fn the_exchange_of_the_page_happens_over_websocket() {
    exchange(false).await;
}

#[tokio::test]
async fn the_exchange_of_the_page_happens_over_polling() {
    exchange(true).await;
}

#[test]
fn a_page_that_lies_would_be_noticed() {
    let mut words = Words::default();
    let line = template("{\"t\":\"ok\",\"pos\":POS1,\"id\":\"ID1\",\"content\":\"HI\"}");
    let frame = serde_json::json!({ "t": "ok", "pos": 7, "id": "x", "content": "HI" });
    words.learn(&line, &frame);
    assert_eq!(words.filled(&line), frame);
    let other = serde_json::json!({ "t": "ok", "pos": 8, "id": "x", "content": "HI" });
    words.learn(&line, &other);
    assert_ne!(words.filled(&line), other, "a word keeps its value");
    let more = serde_json::json!({ "t": "ok", "pos": 7, "id": "x", "content": "HI", "new": 1 });
    assert_ne!(words.filled(&line), more, "a field that the page does not have");
}
