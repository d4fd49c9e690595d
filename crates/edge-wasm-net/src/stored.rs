//! Rows of the page's storage, in and out.

use edge_swarm::{Stored, Table, Write};
use js_sys::{Array, Uint8Array};
use wasm_bindgen::{JsCast as _, JsError, JsValue};

/// Reads `[table, key, value]` rows as the host keeps them, in any order.
pub(crate) fn read(rows: &Array) -> Result<Stored, JsError> {
    let mut stored = Stored::default();
    for row in rows.iter() {
        let damaged = || JsError::new("a stored row is damaged: it is not [table, key, value]");
        let row: Array = row.dyn_into().map_err(|_| damaged())?;
        let name = row.get(0).as_string().ok_or_else(damaged)?;
        let bytes = |at| row.get(at).dyn_into::<Uint8Array>().map_err(|_| damaged());
        let (key, value) = (bytes(1)?.to_vec(), bytes(2)?.to_vec());
        let table = Table::ALL.into_iter().find(|table| table.name() == name);
        // What a later version stored is not touched.
        let Some(table) = table else { continue };
        stored.rows.entry(table).or_default().push((key, value));
    }
    for rows in stored.rows.values_mut() {
        rows.sort_unstable();
    }
    Ok(stored)
}

/// Adds writes to what was read.
pub(crate) fn apply(stored: &mut Stored, writes: &[Write]) {
    for write in writes {
        let rows = stored.rows.entry(write.table).or_default();
        let at = rows.binary_search_by(|(key, _)| key.cmp(&write.key));
        match (at, &write.value) {
            (Ok(at), Some(value)) => rows[at].1.clone_from(value),
            (Ok(at), None) => drop(rows.remove(at)),
            (Err(at), Some(value)) => rows.insert(at, (write.key.clone(), value.clone())),
            (Err(_), None) => {}
        }
    }
}

/// Writes as the host takes them.
pub(crate) fn rows<'a>(writes: impl IntoIterator<Item = &'a Write>) -> Array {
    let rows = writes.into_iter().map(|write| {
        let value = match &write.value {
            Some(value) => Uint8Array::from(value.as_slice()).into(),
            None => JsValue::NULL,
        };
        let key = Uint8Array::from(write.key.as_slice()).into();
        JsValue::from(Array::of3(&write.table.name().into(), &key, &value))
    });
    rows.collect()
}
