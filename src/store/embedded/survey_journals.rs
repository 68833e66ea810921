//! What the journals hold against what batches, tables and witness say about them.

use super::{super::journal::Bad, *};

fn damaged(bad: &Bad) -> String {
    format!("bytes {} to {} are damaged", bad.bytes.start, bad.bytes.end)
}

/// The first journal that is not there, of those between the oldest that is and the newest that is known of. The
/// engine numbers them one by one, and removes the oldest first.
fn missing(journals: &[Journal], newest: u64) -> Option<u64> {
    let mut expected = journals.first()?.number;
    for journal in journals {
        if journal.number != expected {
            return Some(expected);
        }
        expected += 1;
    }
    (expected <= newest).then_some(expected)
}

impl Survey {
    fn lost(&mut self, file: &Path, why: &str, lost: Lost, fix: Fix) {
        let what = format!("{why}; lost: {lost}");
        self.findings.push(Finding { file: file.into(), what, lost: Some(lost), fix });
    }

    pub(super) fn look_at_journals(
        &mut self,
        folder: &Path,
        journals: &[Journal],
        said: &Testimony,
        persisted: Option<&Persisted>,
        accepted: &Accepted,
    ) {
        let first = journals.iter().flat_map(|journal| &journal.runs).next().map(|run| run.first);
        let begins = persisted.is_none_or(|persisted| {
            self.look_at_beginning(folder, journals, first.as_ref(), said, persisted, accepted)
        });
        let mut mark = persisted.map(|persisted| persisted.meta).unwrap_or_default();
        let mut previous: Option<(BatchMark, &Journal)> = None;
        for journal in journals {
            let newest = journals.last().is_some_and(|last| last.number == journal.number);
            for run in &journal.runs {
                if let Some((before, where_)) = previous {
                    let expected = raise(accepted, before.number + 1);
                    if run.first.mark.number > expected {
                        let (first, last) = (expected, run.first.mark.number - 1);
                        let lost = Lost { first, last, after: before.last, upto: run.first.mark.last };
                        self.gap(folder, where_, journal, run.bytes.start, lost);
                    }
                }
                previous = Some((run.last.mark, journal));
                mark = mark.max(run.last.mark);
            }
            for bad in &journal.bad {
                let behind = journal.runs.iter().any(|run| run.bytes.start >= bad.bytes.end);
                let good = previous.map_or(mark.number, |(mark, _)| mark.number);
                // A crash tears the one batch that was being written; a second one behind it was written only after
                // the first was synced.
                let torn = newest
                    && !behind
                    && !said.clean
                    && said.mark.number <= good
                    && bad.rows.iter().all(|row| row.mark.number <= good + 1);
                if torn {
                    self.torn = Some((journal.path.clone(), bad.bytes.clone()));
                } else if !self.findings.iter().any(|finding| finding.file == journal.path) {
                    let rows = bad.rows.iter().map(|row| row.mark.number).filter(|number| *number <= good);
                    let tables = if rows.count() == bad.rows.len() && behind {
                        "whether anything is lost cannot be told"
                    } else {
                        "what these bytes held is lost"
                    };
                    let what = format!("{}; {tables}", damaged(bad));
                    let file = journal.path.clone();
                    self.findings.push(Finding { file, what, lost: None, fix: Fix::Journal });
                }
            }
        }
        self.mark = mark;
        let known = persisted.iter().flat_map(|persisted| persisted.keyspaces).chain([mark, said.mark]);
        for mark in known {
            self.highest.number = self.highest.number.max(mark.number);
            self.highest.last = self.highest.last.max(mark.last);
        }
        let wanted = lower(accepted, said.mark.number);
        // With no batch in the journals the tables have to hold all, which was looked at.
        if mark.number < wanted && persisted.is_some() && (begins || first.is_some()) {
            let lost = Lost { first: mark.number + 1, last: wanted, after: mark.last, upto: said.mark.last };
            let (file, why, fix) = match (missing(journals, said.journal), journals.last()) {
                (None, Some(journal)) => {
                    let fix = if journal.bad.is_empty() { Fix::Accept } else { Fix::Journal };
                    let missing = || "its end, or a journal after it, is missing".into();
                    (journal.path.clone(), journal.bad.last().map_or_else(missing, damaged), fix)
                }
                (number, _) => {
                    let file = folder.join(format!("{}.jnl", number.unwrap_or(said.journal)));
                    (file, "the file is missing".into(), Fix::Accept)
                }
            };
            self.findings.retain(|finding| finding.file != file);
            self.lost(&file, &why, lost, fix);
        }
    }

    /// Batches are missing between two that are there.
    fn gap(&mut self, folder: &Path, before: &Journal, after: &Journal, start: usize, lost: Lost) {
        if let Some(bad) = after.bad.iter().rfind(|bad| bad.bytes.end <= start) {
            self.lost(&after.path, &damaged(bad), lost, Fix::Journal);
        } else if let Some(bad) = before.bad.last() {
            self.lost(&before.path, &damaged(bad), lost, Fix::Journal);
        } else if after.number > before.number + 1 {
            let file = folder.join(format!("{}.jnl", before.number + 1));
            self.lost(&file, "the file is missing", lost, Fix::Accept);
        } else {
            self.lost(&before.path, "its end is missing", lost, Fix::Accept);
        }
    }

    /// The tables have to hold what was written before the first batch of the journals. Says whether they do.
    fn look_at_beginning(
        &mut self,
        folder: &Path,
        journals: &[Journal],
        first: Option<&BatchRow>,
        said: &Testimony,
        persisted: &Persisted,
        accepted: &Accepted,
    ) -> bool {
        let (needed, upto): (Touched, Stamp) =
            first.map_or((said.touched, said.mark.last), |row| (row.before, row.mark.last));
        let damaged = journals.iter().find(|journal| match (journal.runs.first(), journal.bad.first()) {
            (Some(run), Some(bad)) => bad.bytes.start < run.bytes.start,
            (None, Some(_)) => first.is_none(),
            _ => false,
        });
        let before = journals.first().map_or(said.journal, |journal| journal.number.saturating_sub(1));
        let mut lost: Option<(Lost, Vec<&str>)> = None;
        for (place, name) in KEYSPACES.iter().enumerate() {
            let (needed, has) = (lower(accepted, needed[place]), persisted.keyspaces[place]);
            if has.number >= needed {
                continue;
            }
            let (lost, names) = lost.get_or_insert((
                Lost { first: has.number + 1, last: needed, after: has.last, upto },
                Vec::new(),
            ));
            lost.first = lost.first.min(has.number + 1);
            lost.after = lost.after.min(has.last);
            lost.last = lost.last.max(needed);
            names.push(name);
        }
        let Some((lost, names)) = lost else { return true };
        let names = names.join(", ");
        match damaged {
            Some(journal) => {
                let why = format!("its beginning is damaged (keyspaces {names})");
                self.lost(&journal.path, &why, lost, Fix::Journal);
            }
            None => {
                let file = folder.join(format!("{before}.jnl"));
                let why =
                    format!("the file is missing, or one before it, or tables of the keyspaces {names}");
                self.lost(&file, &why, lost, Fix::Accept);
            }
        }
        false
    }
}
