//! Memory and tables of one instance, counted in total: wasmtime's own limits are per memory, and an instance may have
//! several.

use wasmtime::ResourceLimiter;

/// Elements of all tables together. A Rust guest has a few hundred.
const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Core instances, memories and tables that one component may be made of. A Rust guest has 3, 1 and 3.
const PARTS_MAX: usize = 32;

/// What an instance uses, and may use.
#[derive(Debug)]
pub(crate) struct Budget {
    memory_bytes: usize,
    memory_bytes_max: usize,
    table_elements: usize,
    /// The total that was refused, so that the trap that follows can be told from others.
    pub(crate) refused_bytes: Option<usize>,
}

impl Budget {
    pub(crate) const fn new(memory_bytes_max: usize) -> Self {
        Self {
            memory_bytes: 0,
            memory_bytes_max,
            table_elements: 0,
            refused_bytes: None,
        }
    }

    pub(crate) const fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .memory_bytes
            .saturating_add(desired.saturating_sub(current));
        if total > self.memory_bytes_max {
            self.refused_bytes = Some(total);
            return Ok(false);
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > TABLE_ELEMENTS_MAX {
            return Ok(false);
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }
}
