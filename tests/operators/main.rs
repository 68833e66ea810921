//! What operators of several nodes use, as they use it: `hongyan demo`, `status` and `drain`.

#[path = "../common/mod.rs"]
mod common;
mod program;
mod refused;

use common::{Hello, token};
use program::{Demo, run, status};
use serde_json::{Value, json};
use std::time::Duration;

/// A device of `user` at the node at `place`.
fn device(user: &str, place: &program::Place) -> Hello {
    let (token, device) = (token(user), "web".into());
    Hello { address: place.front, token, device, cursor: None, polling: false, more: Value::Null }
}

/// The node called `name` in what another one says of the cluster.
fn of<'a>(status: &'a Value, name: &str) -> &'a Value {
    let nodes = status["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["node"] == name).unwrap_or_else(|| panic!("no {name} in {status:#}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_of_a_demo_see_each_other_and_hand_over_come_back_and_end_together() {
    let delay = 10;
    let mut demo = Demo::start(&["--nodes", "3", "--delay", &delay.to_string(), "--restart-after", "1"]);
    let places = demo.places();
    let names: Vec<_> = places.iter().map(|place| (place.region.as_str(), place.name.as_str())).collect();
    assert_eq!(names, [("eu", "eu-1"), ("us", "us-1"), ("ap", "ap-1")]);
    let [eu, us, ap] = <[program::Place; 3]>::try_from(places).unwrap();

    // All see all, each at its distance.
    common::until("all have heard from all", async || {
        [&eu, &us, &ap].iter().all(|place| status(place.admin).0 == 0)
    })
    .await;
    for place in [&eu, &us, &ap] {
        let (code, status) = status(place.admin);
        assert_eq!(
            (code, &status["problems"], &status["state"]),
            (0, &json!([]), &json!("ready")),
            "{status:#}"
        );
        assert_eq!((&status["node"], &status["region"]), (&json!(place.name), &json!(place.region)));
        let others = status["nodes"].as_array().unwrap();
        assert_eq!(others.len(), 2, "{status:#}");
        for other in others {
            assert_eq!((&other["link"], &other["digest_agrees"]), (&json!("up"), &json!(true)), "{status:#}");
            assert!(other["rtt_ms"].as_f64().unwrap() >= f64::from(2 * delay), "{status:#}");
            assert_eq!(other["version"], env!("CARGO_PKG_VERSION"));
        }
    }

    // A user's mailbox is where the user is, until its node drains.
    let mut bo = device("bo", &ap).connect().await;
    let mut ann = device("ann", &eu).connect().await;
    ann.say("bo", "hello").await;
    assert_eq!(bo.hears().await, "hello");
    common::until("the owners are known everywhere", async || {
        let (_, status) = status(eu.admin);
        (&status["users"], &of(&status, "ap-1")["users"]) == (&json!(1), &json!(1)) && status["known"] == 2
    })
    .await;
    let table = run(&["status", "--admin-listen", &eu.admin.to_string()]);
    assert!(table.out.contains("Presence tables agree: 2 users known"), "{table:?}");
    // A second device of ann's is at ap, and her mailbox is at eu. It is sent there, and served until it is.
    let mut phone = Hello { device: "phone".into(), ..device("ann", &ap) }.connect().await;
    phone.live().await;
    let carried = tokio::spawn(async move {
        let moved = phone.frame("move").await;
        phone.say("bo", "on the way").await;
        (moved, phone)
    });
    let away = tokio::spawn(async move { bo.closed().await });
    let drained = tokio::task::spawn_blocking({
        let admin = ap.admin.to_string();
        move || run(&["drain", "--timeout", "20", "--admin-listen", &admin])
    });
    let drained = drained.await.unwrap();
    assert_eq!(drained.code, 0, "{drained:?}");
    assert!(drained.out.contains("ap-1: 0 mailboxes, 0 parcels, 0 sessions left after"), "{drained:?}");
    assert!(drained.out.ends_with("ap-1 has given away everything and ended.\n"), "{drained:?}");
    away.await.unwrap();
    let (moved, mut phone) = carried.await.unwrap();
    assert_eq!(moved["url"], format!("http://{}", eu.front), "{moved}");
    assert!(moved["after"].as_u64().unwrap() < 200, "{moved}");
    phone.closed().await;
    demo.says("ap-1 has ended (it was told to). The others go on without it; it is started again in 1 s.");
    let mut bo = device("bo", &us).connect().await;
    ann.say("bo", "still there?").await;
    while bo.hears().await != "still there?" {}

    // One that is back, and one that was killed, are linked with all again.
    demo.says("ap-1 is back, process ");
    demo.kill(us.pid);
    demo.says("us-1 has ended (it was killed). The others go on without it; it is started again in 1 s.");
    demo.says("us-1 is back, process ");
    common::until("all are linked again", async || status(eu.admin).0 == 0).await;

    let children = demo.children();
    assert_eq!(children.len(), 3);
    drop((ann, bo));
    assert!(demo.ended().success(), "{}", demo.said());
    for child in children {
        assert!(!program::runs(child), "process {child} is still there");
    }
    assert_eq!(demo.left_behind(), Vec::<String>::new());
}

#[test]
fn nodes_end_with_a_demo_that_is_killed() {
    let mut demo = Demo::start(&["--nodes", "2"]);
    let children = demo.children();
    assert_eq!(children.len(), 2);
    demo.kill_itself();
    let start = std::time::Instant::now();
    let mut left = children;
    while start.elapsed() < common::PATIENCE && !left.is_empty() {
        std::thread::sleep(Duration::from_millis(50));
        left.retain(|child| program::runs(*child));
    }
    left.iter().for_each(|child| program::kill(*child));
    assert_eq!(left, [0_u32; 0], "nodes outlive their demo");
}
