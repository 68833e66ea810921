//! Readers beside a writer see batches whole, and positions only grow.

mod support;

use hongyan::{
    model::{Stamp, What},
    store::{Embedded, Options, Page, Store},
};
use std::sync::atomic::{AtomicBool, Ordering};
use support::{PER_BATCH, batch, message, user};

#[test]
fn an_entry_is_never_seen_without_its_message() {
    let folder = tempfile::tempdir().unwrap();
    // Small, so that tables are written and merged meanwhile.
    let options = Options { memtable: 256 << 10, ..Options::default() };
    let store = Embedded::open(folder.path().join("data"), &options).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for of in ["ann", "bo"] {
            let (store, done) = (&store, &done);
            threads.spawn(move || {
                let (mut after, mut next) = (Stamp::ZERO, 0);
                loop {
                    let last = done.load(Ordering::Acquire);
                    let page = store.entries(&user(of), after, 64, usize::MAX).unwrap();
                    for entry in &page.entries {
                        let What::Message { ordinal, .. } = entry.what else { panic!() };
                        assert_eq!(ordinal, next, "an entry was passed over");
                        next += 1;
                    }
                    assert!(page.more || next % PER_BATCH as u32 == 0, "part of a batch was seen");
                    after = page.last;
                    if last && !page.more {
                        assert_eq!(u64::from(next), 600 * PER_BATCH);
                        return;
                    }
                    let log = message(0, 0).log();
                    let (newest, _) = store.history(&log, Page::Before(Stamp::MAX), 5, &|_| true).unwrap();
                    assert!(newest.windows(2).all(|pair| pair[0].at < pair[1].at));
                }
            });
        }
        for number in 1..=600 {
            store.commit(&batch(number, 500)).unwrap();
        }
        done.store(true, Ordering::Release);
    });
}
