//! A view of the rows of a matrix inside a larger one.

/// Rows of `f32` that begin `stride` elements apart: a whole row-major matrix, or some of its columns
/// without a copy, such as the queries of one head in a matrix of queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The elements, from the first of the first row on.
    pub values: &'a [f32],
    /// The distance from a row to the next, at least as long as a row.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// Whether `rows` rows of `columns` elements lie in the values without overlap.
    pub fn hold(self, rows: usize, columns: usize) -> bool {
        hold(self.values.len(), self.stride, rows, columns)
    }

    /// The same rows without their first `columns` elements.
    ///
    /// # Panics
    /// If there are fewer values.
    pub fn from_column(self, columns: usize) -> Rows<'a> {
        Rows { values: &self.values[columns..], stride: self.stride }
    }

    /// The rows from the `first` on.
    ///
    /// # Panics
    /// If there are fewer values.
    pub fn from_row(self, first: usize) -> Rows<'a> {
        Rows { values: &self.values[first * self.stride..], stride: self.stride }
    }

    /// The first `columns` elements of row `row`.
    ///
    /// # Panics
    /// If there are fewer values.
    pub fn row(self, row: usize, columns: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..columns]
    }
}

/// See [`Rows::hold`]; for rows in a slice of `len` elements.
pub(crate) fn hold(len: usize, stride: usize, rows: usize, columns: usize) -> bool {
    if rows == 0 || columns == 0 {
        return true;
    }
    let end = (rows - 1).checked_mul(stride).and_then(|last| last.checked_add(columns));
    stride >= columns && end.is_some_and(|end| end <= len)
}
