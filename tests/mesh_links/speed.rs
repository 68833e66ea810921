//! How much a lane carries; a measurement, not a test.

use crate::node::Cluster;
use bytes::Bytes;
use hongyan::mesh::{Event, Lane, SendError};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn small_frames_on_one_lane() {
    const COUNT: usize = 2_000_000;
    let cluster = Cluster::new(&["a", "b"]);
    let [a, mut b] = cluster.linked(["a", "b"], |_| {}).await;
    let (handle, to) = (a.handle.clone(), b.id());
    let start = Instant::now();
    let pour = tokio::spawn(async move {
        let frame = Bytes::from(vec![7; 200]);
        let mut waits = 0_u64;
        for _ in 0..COUNT {
            while handle.send(to, Lane::Chat, frame.clone()) == Err(SendError::Full) {
                waits += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        waits
    });
    let (mut taken, mut events) = (0, 0);
    while taken < COUNT {
        b.next("frames", |event| match event {
            Event::Frames { frames, .. } => {
                taken += frames.len();
                events += 1;
                Some(())
            }
            _ => None,
        })
        .await;
        b.seen.clear();
    }
    let time = start.elapsed();
    let waits = pour.await.unwrap();
    println!(
        "{COUNT} frames of 200 bytes in {time:.2?}: {:.0} a second, {} a batch, {waits} waits for room",
        COUNT as f64 / time.as_secs_f64(),
        COUNT / events,
    );
}
