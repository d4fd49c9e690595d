//! Import: a stream of records becomes rows of a collection.
//!
//! All records are read first: of several with one id, the last is stored. They are taken in groups,
//! what the collection already holds is skipped, the rest is embedded by several tasks at once and
//! appended in batches. Ids come from the content, so an import that was interrupted is resumed by
//! running it again. A record that cannot be stored is named and does not stop the others; a refusal
//! that would meet every record ends the import.
//!
//! Every record is counted once: `read` is `known`, `replaced`, `stored` and `failed` together when
//! the import has ended without a refusal.

use std::collections::BTreeMap;

use edge_base::{
    Digest, RecordId,
    shard::{BATCH_BYTES_MAX, LogEntry},
};
use edge_swarm::{Answer, Command, Refusal, command::Change};
use edge_tasks::{KEY_FIELD, Layout, RecordBody};
use futures::{Stream, StreamExt as _, stream, stream::FuturesUnordered};

use super::{
    Jobs, TEXT_BYTES_PER_TASK, TEXTS_PER_TASK, TaskOptions, UNITS_PER_TASK, check_text,
    check_vector, unexpected,
};

/// Records one log batch takes.
const BATCH_RECORDS: usize = 128;
/// Bytes of bodies after which a log batch takes no further record.
const BATCH_BYTES: usize = BATCH_BYTES_MAX - PAYLOAD_BYTES_MAX - 32 * 1024;
/// The largest payload of a record, text included.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Embedding tasks in flight.
const GROUPS_IN_FLIGHT: usize = 8;
/// Log batches in flight.
const BATCHES_IN_FLIGHT: usize = 4;
/// Times a task that failed or was late is tried again.
const RETRIES: u32 = 2;
/// Record errors that are kept by name; all are counted.
const ERRORS_KEPT: usize = 1_000;

/// A record as a caller gives it.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The caller's id; a JSON number stands for its digits. Without one, the id is the digest of
    /// the text.
    #[serde(default, deserialize_with = "text_or_number")]
    pub id: Option<String>,
    /// The text that is embedded. May be left out when there is a vector and an id.
    #[serde(default)]
    pub text: Option<String>,
    /// The vector, for collections of plain vectors.
    #[serde(default)]
    pub vector: Option<Vec<f32>>,
    /// What is stored with it. The text is added as `text` unless there is such a key.
    #[serde(default)]
    pub payload: serde_json::Map<String, serde_json::Value>,
}

/// An id as callers write it: a text, or a number that stands for its digits.
#[derive(Clone, PartialEq, Debug, serde::Deserialize)]
#[serde(untagged, expecting = "`id` is a string or a number")]
pub enum RecordKey {
    /// Itself.
    Text(String),
    /// Its digits.
    Number(serde_json::Number),
}

impl From<RecordKey> for String {
    fn from(key: RecordKey) -> Self {
        match key {
            RecordKey::Text(text) => text,
            RecordKey::Number(number) => number.to_string(),
        }
    }
}

fn text_or_number<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    let key: Option<RecordKey> = serde::Deserialize::deserialize(deserializer)?;
    Ok(key.map(String::from))
}

/// How an import goes about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ImportOptions {
    /// How the embedding tasks are carried out.
    pub tasks: TaskOptions,
}

/// How far an import is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Progress {
    /// Records taken from the stream.
    pub read: u64,
    /// Records that were stored already, or whose text without an id came earlier in the stream.
    pub known: u64,
    /// Records that a later one of the stream with the same id took the place of.
    pub replaced: u64,
    /// Records embedded.
    pub embedded: u64,
    /// Records stored and acknowledged.
    pub stored: u64,
    /// Records that cannot be stored.
    pub failed: u64,
}

/// A record that was not stored.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize)]
pub struct RecordError {
    /// Its place in the stream, from 0.
    pub index: u64,
    /// The caller's id, if it had one.
    pub id: Option<String>,
    /// Why.
    pub reason: String,
}

/// What an import did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ImportReport {
    /// Counts.
    pub counts: Progress,
    /// The first thousand records that were not stored.
    pub errors: Vec<RecordError>,
    /// Fewest replicas that acknowledged any batch; `None` when nothing was stored.
    pub replicas: Option<usize>,
    /// Embedding tasks.
    pub tasks: u64,
    /// Of these, results believed on this node's word alone.
    pub self_checked: u64,
}

/// Why an import ended early. Running it again continues.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{refusal} ({} records were stored before)", report.counts.stored)]
pub struct ImportError {
    /// What was refused.
    pub refusal: Refusal,
    /// What had been done.
    pub report: Box<ImportReport>,
}

/// A record on its way.
struct Row {
    index: u64,
    key: Option<String>,
    id: RecordId,
    text: Option<String>,
    vector: Option<Vec<f32>>,
    payload: Vec<u8>,
    /// The id says everything about the content, so a known id needs no second look.
    by_content: bool,
}

/// What became of a group: changes to append, and what to count.
#[derive(Default)]
struct Group {
    changes: Vec<Change>,
    known: u64,
    replaced: u64,
    embedded: u64,
    failed: Vec<RecordError>,
    tasks: u64,
    self_checked: u64,
}

impl Jobs {
    /// Stores a stream of records in a collection. `progress` is called often, cheaply.
    ///
    /// # Errors
    /// [`ImportError`] with what was done until then.
    pub async fn import(
        &self,
        collection: &str,
        records: impl Stream<Item = Result<Record, String>> + Send,
        options: ImportOptions,
        mut progress: impl FnMut(&Progress),
    ) -> Result<ImportReport, ImportError> {
        let mut report = ImportReport::default();
        let outcome =
            self.import_into(collection, records, options, &mut progress, &mut report).await;
        report.errors.sort_by_key(|error| error.index);
        match outcome {
            Ok(()) => Ok(report),
            Err(refusal) => Err(ImportError { refusal, report: Box::new(report) }),
        }
    }

    async fn import_into(
        &self,
        collection: &str,
        records: impl Stream<Item = Result<Record, String>> + Send,
        options: ImportOptions,
        progress: &mut impl FnMut(&Progress),
        report: &mut ImportReport,
    ) -> Result<(), Refusal> {
        let (_, layout) = self.collection(collection).await?;
        let records: Vec<Result<Record, String>> = records.collect().await;
        report.counts.read = records.len() as u64;
        let (rows, sifted) = sift(records, &layout);
        let mut waiting: Vec<Change> = Vec::new();
        report.take(sifted, &mut waiting);
        progress(&report.counts);
        // Owned parts: futures that borrow them are not `Send` for every lifetime.
        let (jobs, name) = (self.clone(), collection.to_owned());
        let model = self.node.models().get(&layout.model).cloned();
        let cost =
            |text: &str| model.as_ref().map_or(0, |m| edge_tasks::model_units(&**m, &[text]));
        let groups = stream::iter(grouped(rows, cost)).map(|group| {
            let (jobs, name) = (jobs.clone(), name.clone());
            async move { jobs.prepare(&name, &layout, group, options.tasks).await }
        });
        let mut groups = std::pin::pin!(groups.buffered(GROUPS_IN_FLIGHT));
        let mut appends = FuturesUnordered::new();
        let mut more = true;
        loop {
            while let Some(batch) = next_batch(&mut waiting, !more) {
                let (jobs, name) = (jobs.clone(), name.clone());
                appends.push(async move { jobs.append(&name, batch).await });
            }
            if !more && appends.is_empty() {
                return Ok(());
            }
            tokio::select! {
                Some(done) = appends.next(), if !appends.is_empty() => {
                    let Appended { stored, known, replicas } = done?;
                    report.counts.stored += stored;
                    report.counts.known += known;
                    if stored > 0 {
                        report.replicas = report.replicas.map(|r| r.min(replicas)).or(Some(replicas));
                    }
                }
                group = groups.next(), if more && appends.len() < BATCHES_IN_FLIGHT => {
                    match group {
                        None => more = false,
                        Some(group) => report.take(group?, &mut waiting),
                    }
                }
            }
            progress(&report.counts);
        }
    }

    /// Everything up to the append of one group.
    async fn prepare(
        &self,
        collection: &str,
        layout: &Layout,
        mut rows: Vec<Row>,
        options: TaskOptions,
    ) -> Result<Group, Refusal> {
        let mut out = Group::default();
        let known = self.known(collection, &rows).await?;
        rows.retain(|row| {
            let skip = row.by_content && known.contains_key(&row.id);
            out.known += u64::from(skip);
            !skip
        });
        self.embed_rows(layout, &mut rows, options, &mut out).await?;
        for row in rows {
            let Some(vector) = row.vector else { continue };
            let canonical = RecordBody::canonical(layout, vector, row.payload);
            let (entry, body) = match canonical {
                Ok(body) => body.entry(row.id),
                Err(error) => {
                    let (index, id, reason) = (row.index, row.key, error.to_string());
                    out.failed.push(RecordError { index, id, reason });
                    continue;
                }
            };
            if known.get(&row.id) == Some(&entry.record) {
                out.known += 1;
            } else {
                out.changes.push(Change { entry, body });
            }
        }
        Ok(out)
    }

    async fn known(
        &self,
        collection: &str,
        rows: &[Row],
    ) -> Result<BTreeMap<RecordId, Option<Digest>>, Refusal> {
        if rows.is_empty() {
            return Ok(BTreeMap::new());
        }
        let ids = rows.iter().map(|row| row.id).collect();
        let command = Command::Known { collection: collection.to_owned(), ids, pending: false };
        match self.node.call(command).await? {
            Answer::Known(entries) => {
                Ok(entries.into_iter().map(|LogEntry { id, record }| (id, record)).collect())
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Fills in the vectors. When a task is refused for its content, its halves are tried, so that
    /// only the record at fault fails.
    async fn embed_rows(
        &self,
        layout: &Layout,
        rows: &mut [Row],
        options: TaskOptions,
        out: &mut Group,
    ) -> Result<(), Refusal> {
        let wanting: Vec<usize> = (0..rows.len()).filter(|i| rows[*i].vector.is_none()).collect();
        let mut open = vec![wanting];
        while let Some(part) = open.pop() {
            if part.is_empty() {
                continue;
            }
            let texts: Vec<String> =
                part.iter().map(|i| rows[*i].text.clone().unwrap_or_default()).collect();
            match self.embed_again(layout, &texts, options).await {
                Ok(embedded) => {
                    out.embedded += part.len() as u64;
                    out.tasks += embedded.tasks.len() as u64;
                    let alone = embedded.tasks.iter().filter(|task| task.check.self_checked);
                    out.self_checked += alone.count() as u64;
                    for (i, vector) in part.iter().zip(embedded.vectors) {
                        rows[*i].vector = Some(vector);
                    }
                }
                Err(refusal) if self.node.ended().is_some() => return Err(refusal),
                Err(Refusal::Invalid(reason) | Refusal::Failed(reason)) => match part.as_slice() {
                    [one] => {
                        let Row { index, key, .. } = &rows[*one];
                        let (index, id) = (*index, key.clone());
                        out.failed.push(RecordError { index, id, reason });
                    }
                    many => {
                        let (left, right) = many.split_at(many.len() / 2);
                        open.extend([right.to_vec(), left.to_vec()]);
                    }
                },
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }

    async fn embed_again(
        &self,
        layout: &Layout,
        texts: &[String],
        options: TaskOptions,
    ) -> Result<super::Embedded, Refusal> {
        let mut tries = 0;
        loop {
            match self.embed_with(layout.model, texts, options).await {
                Err(Refusal::TimedOut(_)) if tries < RETRIES => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Appends one batch; a try that was too late is made again.
    pub(super) async fn append(
        &self,
        collection: &str,
        changes: Vec<Change>,
    ) -> Result<Appended, Refusal> {
        let all = changes.len() as u64;
        let units = edge_tasks::append_units(all);
        let mut tries = 0;
        loop {
            let command = Command::Append {
                collection: collection.to_owned(),
                changes: changes.clone(),
                units,
            };
            match self.node.call(command).await {
                Ok(Answer::Appended { entries, replicas }) => {
                    // What the log had already came from another import, or from the try before.
                    let stored = if tries > 0 { all } else { all.min(entries as u64) };
                    return Ok(Appended { stored, known: all - stored, replicas });
                }
                Ok(other) => return Err(unexpected(&other)),
                Err(Refusal::TimedOut(_)) if tries < RETRIES => tries += 1,
                Err(refusal) => return Err(refusal),
            }
        }
    }
}

/// What became of one log batch.
pub(super) struct Appended {
    pub(super) stored: u64,
    /// Stored by another import since this one looked.
    known: u64,
    pub(super) replicas: usize,
}

impl ImportReport {
    fn take(&mut self, group: Group, waiting: &mut Vec<Change>) {
        self.counts.known += group.known;
        self.counts.replaced += group.replaced;
        self.counts.embedded += group.embedded;
        self.counts.failed += group.failed.len() as u64;
        self.tasks += group.tasks;
        self.self_checked += group.self_checked;
        let room = ERRORS_KEPT.saturating_sub(self.errors.len());
        self.errors.extend(group.failed.into_iter().take(room));
        waiting.extend(group.changes);
    }
}

/// A batch that is full, or the rest when nothing more comes.
fn next_batch(waiting: &mut Vec<Change>, rest: bool) -> Option<Vec<Change>> {
    let mut bytes = 0;
    let mut take = 0;
    let mut full = false;
    for change in waiting.iter() {
        bytes += change.body.len();
        take += 1;
        full = take == BATCH_RECORDS || bytes > BATCH_BYTES;
        if full {
            break;
        }
    }
    (take > 0 && (full || rest)).then(|| waiting.drain(..take).collect())
}

/// Rows of which each has its own id, and what became of the other records: of several with one id
/// the last stays; of several texts without an id the first, as the later ones add nothing.
fn sift(records: Vec<Result<Record, String>>, layout: &Layout) -> (Vec<Row>, Group) {
    let mut out = Group::default();
    let mut rows: Vec<Option<Row>> = Vec::new();
    let mut places: BTreeMap<RecordId, usize> = BTreeMap::new();
    for (index, record) in (0..).zip(records) {
        let key = record.as_ref().ok().and_then(|record| record.id.clone());
        match record.and_then(|record| row(index, record, layout)) {
            Err(reason) => out.failed.push(RecordError { index, id: key, reason }),
            Ok(row) if row.by_content && places.contains_key(&row.id) => out.known += 1,
            Ok(row) => {
                if let Some(earlier) = places.insert(row.id, rows.len()) {
                    rows[earlier] = None;
                    out.replaced += 1;
                }
                rows.push(Some(row));
            }
        }
    }
    (rows.into_iter().flatten().collect(), out)
}

/// Rows in groups that make one embedding task each.
fn grouped(rows: Vec<Row>, cost: impl Fn(&str) -> u64) -> Vec<Vec<Row>> {
    let mut groups: Vec<Vec<Row>> = Vec::new();
    let (mut bytes, mut units) = (0, 0);
    for row in rows {
        let size = row.text.as_ref().map_or(0, String::len);
        let more = row.text.as_ref().filter(|_| row.vector.is_none()).map_or(0, |text| cost(text));
        let room = |group: &Vec<Row>| {
            group.len() < TEXTS_PER_TASK
                && bytes + size <= TEXT_BYTES_PER_TASK
                && units + more <= UNITS_PER_TASK
        };
        match groups.last_mut().filter(|group| room(group)) {
            Some(group) => {
                (bytes, units) = (bytes + size, units + more);
                group.push(row);
            }
            None => {
                (bytes, units) = (size, more);
                groups.push(vec![row]);
            }
        }
    }
    groups
}

/// Checks a record and finds its id.
fn row(index: u64, record: Record, layout: &Layout) -> Result<Row, String> {
    let Record { id: key, text, vector, mut payload } = record;
    if let Some(text) = &text {
        check_text(text).map_err(|why| format!("its text: {why}"))?;
        payload.entry("text").or_insert_with(|| text.as_str().into());
    }
    match &vector {
        Some(vector) => check_vector(vector, layout.dim)?,
        None if text.is_none() => return Err("it has neither text nor vector".into()),
        None if layout.model == Digest::default() => {
            return Err("the collection holds plain vectors and it has none".into());
        }
        None => {}
    }
    if vector.is_some() && layout.model != Digest::default() {
        return Err("the collection embeds texts itself and takes no vectors".into());
    }
    let id = match (&key, &text) {
        (Some(key), _) => edge_tasks::record_id_for_key(key),
        (None, Some(text)) => edge_tasks::record_id_for_text(text),
        (None, None) => return Err("a vector without text needs an id".into()),
    };
    if payload.contains_key(KEY_FIELD) {
        return Err(format!("{KEY_FIELD:?} in its payload is reserved: give the id as `id`"));
    }
    if let Some(key) = &key {
        payload.insert(KEY_FIELD.to_owned(), key.as_str().into());
    }
    let payload = payload_bytes(&payload)?;
    let by_content = key.is_none() && vector.is_none();
    Ok(Row { index, key, id, text, vector, payload, by_content })
}

fn payload_bytes(payload: &serde_json::Map<String, serde_json::Value>) -> Result<Vec<u8>, String> {
    let bytes = serde_json::to_vec(payload).map_err(|error| format!("its payload: {error}"))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        let size = bytes.len();
        return Err(format!("its payload of {size} bytes is over {PAYLOAD_BYTES_MAX}"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use edge_tasks::take_key;

    use super::*;

    fn text(text: &str) -> Record {
        Record { text: Some(text.to_owned()), ..Record::default() }
    }

    fn layout(text: bool) -> Layout {
        let layout = super::super::default_layout();
        if text { layout } else { Layout { dim: 2, model: Digest::default(), ..layout } }
    }

    #[test]
    fn an_id_is_a_text_or_a_number() {
        let id = |json: &str| serde_json::from_str::<Record>(json).map(|record| record.id);
        assert_eq!(id(r#"{"id": "a"}"#).unwrap().as_deref(), Some("a"));
        assert_eq!(id(r#"{"id": 12}"#).unwrap().as_deref(), Some("12"));
        assert_eq!(id(r#"{"id": null}"#).unwrap(), None);
        assert_eq!(id("{}").unwrap(), None);
        let why = id(r#"{"id": [1]}"#).unwrap_err().to_string();
        assert!(why.contains("`id` is a string or a number"), "{why}");
    }

    #[test]
    fn groups_are_numbered_and_bounded() {
        let sift = |texts: Vec<Record>| sift(texts.into_iter().map(Ok).collect(), &layout(true)).0;
        let groups = grouped(sift((0..130).map(|n| text(&n.to_string())).collect()), |_| 1);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 2]);
        let indices: Vec<u64> = groups.iter().flatten().map(|row| row.index).collect();
        assert_eq!(indices, (0..130).collect::<Vec<_>>());
        let large: Vec<Record> =
            (0..20).map(|n| text(&format!("{n} {}", "x".repeat(40_000)))).collect();
        let groups = grouped(sift(large), |_| 1);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [13, 7]);
        let dear = sift((0..9).map(|n| text(&n.to_string())).collect());
        let groups = grouped(dear, |_| UNITS_PER_TASK / 4);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 1]);
    }

    #[test]
    fn the_last_record_of_an_id_stays_and_every_record_is_counted() {
        let named = |id: &str, words: &str| Record { id: Some(id.to_owned()), ..text(words) };
        let mut records = vec![Ok(named("a", "one")), Ok(text("same")), Err("broken".to_owned())];
        // Further apart than one group is large.
        records.extend((0..200).map(|n| Ok(named(&n.to_string(), "filler"))));
        records.extend([Ok(named("a", "two")), Ok(text(" same ")), Ok(named("a", " "))]);
        records.push(Ok(named("a", "three")));
        let read = records.len();
        let (rows, out) = sift(records, &layout(true));
        let of_a: Vec<_> = rows.iter().filter(|row| row.key.as_deref() == Some("a")).collect();
        assert_eq!(of_a.len(), 1);
        assert_eq!(of_a[0].text.as_deref(), Some("three"));
        assert_eq!((out.replaced, out.known, out.failed.len()), (2, 1, 2));
        assert_eq!(rows.len() + 5, read);
    }

    #[test]
    fn batches_fit_the_log() {
        let change = |bytes: usize| Change {
            entry: LogEntry { id: RecordId::default(), record: None },
            body: vec![0; bytes],
        };
        let sizes = |changes: Vec<Change>, rest: bool| {
            let mut waiting = changes;
            let batches = std::iter::from_fn(|| next_batch(&mut waiting, rest));
            (batches.map(|b| b.len()).collect::<Vec<_>>(), waiting.len())
        };
        assert_eq!(sizes(vec![change(1_000); 300], false), (vec![128, 128], 44));
        assert_eq!(sizes(vec![change(1_000); 300], true), (vec![128, 128, 44], 0));
        // The largest bodies there are: payload, vector of 1,024 components, lengths.
        let body = PAYLOAD_BYTES_MAX + 4 * 1_024 + 16;
        let mut waiting = vec![change(body); 50];
        while let Some(batch) = next_batch(&mut waiting, true) {
            let bytes: usize = batch.iter().map(|c| c.body.len()).sum();
            assert!(bytes <= BATCH_BYTES_MAX, "{bytes}");
        }
    }

    #[test]
    fn a_record_says_what_it_lacks() {
        let texts = layout(true);
        let cases = [
            (Record::default(), "neither text nor vector"),
            (text("  "), "empty"),
            (Record { vector: Some(vec![0.0; 2]), ..text("a") }, "components"),
            (
                Record { vector: Some(vec![0.0; texts.dim as usize]), ..text("a") },
                "takes no vectors",
            ),
            (text(&"long ".repeat(20_000)), "over 65536"),
        ];
        for (record, reason) in cases {
            let error = row(0, record, &texts).err().unwrap();
            assert!(error.contains(reason), "{error}");
        }
        let vectors = layout(false);
        let plain = |vector| Record { vector: Some(vector), ..Record::default() };
        for (record, reason) in [
            (plain(vec![1.0, 2.0]), "needs an id"),
            (plain(vec![1.0, f32::NAN]), "not a finite number"),
            (text("a"), "plain vectors"),
        ] {
            let error = row(0, record, &vectors).err().unwrap();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn ids_follow_content_and_the_text_is_kept() {
        let texts = layout(true);
        let one = row(0, text("some  words"), &texts).unwrap();
        let same = row(1, text(" some words "), &texts).unwrap();
        assert_eq!(one.id, same.id);
        assert!(one.by_content);
        let keyed = Record { id: Some("7".into()), ..text("some words") };
        let keyed = row(2, keyed, &texts).unwrap();
        assert!(keyed.id != one.id && !keyed.by_content);
        assert_eq!(one.payload, br#"{"text":"some  words"}"#);
        // The caller's id comes back, and nobody can pass a record off under another's id.
        let mut payload = serde_json::from_slice(&keyed.payload).unwrap();
        assert_eq!(take_key(&one.id, &mut payload), None);
        assert_eq!(take_key(&keyed.id, &mut payload).as_deref(), Some("7"));
        assert_eq!(serde_json::to_string(&payload).unwrap(), r#"{"text":"some words"}"#);
        let mut forged = text("a");
        forged.payload.insert(KEY_FIELD.to_owned(), "7".into());
        assert!(row(3, forged, &texts).err().unwrap().contains("reserved"));
    }
}
