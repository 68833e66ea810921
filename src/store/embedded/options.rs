//! What of the engine is set otherwise than it comes, and why.

use fjall::{
    Database, DatabaseBuilder, KeyspaceCreateOptions,
    compaction::Leveled,
    config::{BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry},
};
use std::{path::Path, sync::Arc};

/// How much memory and disk the store may use beside the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Memory for blocks read from tables, in bytes. Default 64 MiB.
    pub cache: u64,
    /// Largest size of all journals together, in bytes; at least 64 MiB. What they hold is read at every start and kept in
    /// memory until it is written as tables, so it bounds the time that a start takes. Default 256 MiB.
    pub journals: u64,
    /// How much of bodies, and as much again of entries, is gathered in memory before it is written as a table, in
    /// bytes; while tables are being written, eight times as much is held before commits begin to wait. Taken when the
    /// store is made, and kept by it. Default 16 MiB: larger ones cost as much CPU a message (more cache misses, fewer
    /// merges), and more memory.
    pub memtable: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache: 64 << 20, journals: 256 << 20, memtable: 16 << 20 }
    }
}

impl Options {
    pub(super) fn builder(&self, path: &Path) -> DatabaseBuilder<Database> {
        Database::builder(path)
            // One thread flushes and merges. More would only bounce merge tasks between them (the engine keeps its
            // first thread for flushes and has it hand every merge back to the queue, over and over).
            .worker_threads(1)
            .cache_size(self.cache)
            .max_journaling_size(self.journals.max(64 << 20))
            // The commit says itself when to sync; without this each batch would be flushed twice.
            .manual_journal_persist(true)
    }
}

/// How a keyspace is made. It keeps what it was made with for good: the engine reads these back from its own tables.
///
/// Measured with `benches/store.rs`: beyond what is set here, block sizes, memtables of 16 to 64 MiB and values kept
/// apart from keys made less of a difference than the noise; inserts into the memtable are what costs.
pub(super) fn keyspace(name: &str, memtable: u64) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::disabled())
        .index_block_compression_policy(CompressionPolicy::disabled());
    if !matches!(name, "bodies" | "entries") {
        return options.max_memtable_size(memtable.min(8 << 20));
    }
    // More tables than the default's 4 before a merge, so fewer merges; a read looks into a few more. The first level
    // that is merged holds that many tables of the target size: with bodies of twice what is merged into it, so that a
    // body is written there three times, and not five. Larger merges would hold up flushes, which wait for them.
    let (tables, size) = if name == "bodies" { (16, 32 << 20) } else { (8, 64 << 20) };
    let merging = Leveled::default().with_l0_threshold(tables).with_table_target_size(size);
    let options = options
        .max_memtable_size(memtable)
        .data_block_size_policy(BlockSizePolicy::all(8 << 10))
        .compaction_strategy(Arc::new(merging));
    if name == "entries" {
        // Read by ranges, which filters do not help.
        return options.filter_policy(FilterPolicy::disabled());
    }
    // Read one by one, by those who know that it is there: the lowest level needs no filter.
    let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
    options.filter_policy(FilterPolicy::all(filter)).expect_point_read_hits(true)
}
