//! Rows of a CSV file as readings.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Number, Value};
use tidegate_record::{Body, Quality, Topic, WallTime};

use super::RowShape;
use super::time::{parse_count, parse_date_time};
use crate::Reading;

/// Columns of one file: bounds what one row becomes.
const COLUMNS_MAX: usize = 1024;
/// Names of the column that gives the time, in lower case.
const TIME_NAMES: [&str; 4] = ["time", "timestamp", "datetime", "date"];

/// What the header says about the rows.
#[derive(Debug)]
pub(super) struct Table {
    separator: char,
    time: Option<usize>,
    columns: Vec<Column>,
    rows: RowShape,
}

#[derive(Debug)]
struct Column {
    name: Arc<str>,
    unit: Option<Arc<str>>,
    kind: Kind,
}

/// What a column holds: said by its first value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Number,
    Text,
}

impl Table {
    /// Reads the header line.
    pub(super) fn new(header: &str, rows: RowShape) -> Result<Self, String> {
        let separator = match header.matches(';').count() > header.matches(',').count() {
            true => ';',
            false => ',',
        };
        let names = split(header, separator)?;
        if names.len() > COLUMNS_MAX {
            return Err(format!(
                "it has {} columns, {COLUMNS_MAX} are taken",
                names.len()
            ));
        }
        let time = names
            .iter()
            .position(|name| TIME_NAMES.contains(&name.trim().to_lowercase().as_str()));
        let columns: Vec<Column> = names
            .iter()
            .map(|name| Column::new(name))
            .collect::<Result<_, _>>()?;
        for (position, column) in columns.iter().enumerate() {
            if columns
                .iter()
                .take(position)
                .any(|other| other.name == column.name)
            {
                return Err(format!("it has two columns {:?}", column.name));
            }
        }
        if columns
            .iter()
            .all(|column| column.name.parse::<f64>().is_ok())
        {
            return Err("it has only numbers, no names".to_owned());
        }
        Ok(Self {
            separator,
            time,
            columns,
            rows,
        })
    }

    /// Reads one row: all of it, or the reason why not.
    pub(super) fn parse(&mut self, line: &str) -> Result<Vec<Reading>, String> {
        let cells = split(line, self.separator)?;
        if cells.len() != self.columns.len() {
            return Err(format!(
                "the row has {} values, the header {}",
                cells.len(),
                self.columns.len()
            ));
        }
        let time = self.time.and_then(|position| cells.get(position));
        let time = time.map(|cell| parse_time(cell)).transpose()?;
        let mut values = Vec::with_capacity(cells.len());
        for (position, (column, cell)) in self.columns.iter_mut().zip(&cells).enumerate() {
            if Some(position) != self.time
                && let Some(value) = column.parse(cell.trim())?
            {
                values.push((&*column, value));
            }
        }
        match &self.rows {
            RowShape::Points => Ok(points(values, time)),
            RowShape::Objects(topic) => object(topic, values, time).map(|reading| vec![reading]),
        }
    }
}

/// One reading for each number.
fn points(values: Vec<(&Column, Cell)>, time: Option<WallTime>) -> Vec<Reading> {
    let reading = |(column, value): (&Column, Cell)| match value {
        Cell::Text(_) => None,
        Cell::Number(number) => Some(Reading {
            point: column.name.clone(),
            unit: column.unit.clone(),
            body: Body::Number(number),
            quality: match number.is_finite() {
                true => Quality::Good,
                false => Quality::Bad,
            },
            time,
        }),
    };
    values.into_iter().filter_map(reading).collect()
}

/// One reading for the row.
fn object(
    topic: &Topic,
    values: Vec<(&Column, Cell)>,
    time: Option<WallTime>,
) -> Result<Reading, String> {
    let mut object = Map::new();
    for (column, value) in values {
        let value = match value {
            // JSON has no infinities and no NaN: such a cell has no value.
            Cell::Number(number) => Number::from_f64(number).map_or(Value::Null, Value::Number),
            Cell::Text(text) => Value::String(text),
        };
        object.insert(column.name.to_string(), value);
    }
    let payload = serde_json::to_vec(&object).map_err(|error| error.to_string())?;
    Ok(Reading {
        point: topic.as_str().into(),
        unit: None,
        body: Body::Payload(Bytes::from(payload)),
        quality: Quality::Good,
        time,
    })
}

enum Cell {
    Number(f64),
    Text(String),
}

impl Column {
    /// Splits `flow [L/min]` into name and unit. The name is a topic, and so must look like one.
    fn new(header: &str) -> Result<Self, String> {
        let header = header.trim();
        let with_unit = header
            .strip_suffix(']')
            .and_then(|rest| rest.rsplit_once('['));
        let (name, unit) = match with_unit {
            Some((name, unit)) if !unit.trim().is_empty() => (name.trim(), Some(unit.trim())),
            _ => (header, None),
        };
        let topic = Topic::new(name).map_err(|error| error.to_string())?;
        Ok(Self {
            name: topic.as_str().into(),
            unit: unit.map(Into::into),
            kind: Kind::Unknown,
        })
    }

    /// The value of a cell; none when it is empty.
    fn parse(&mut self, cell: &str) -> Result<Option<Cell>, String> {
        if cell.is_empty() {
            return Ok(None);
        }
        let number = cell.parse::<f64>().ok();
        if self.kind == Kind::Unknown {
            self.kind = match number {
                Some(_) => Kind::Number,
                None => Kind::Text,
            };
        }
        match (self.kind, number) {
            (Kind::Number, Some(number)) => Ok(Some(Cell::Number(number))),
            (Kind::Number, None) => Err(format!(
                "{:?} in column {:?} is no number",
                shortened(cell),
                self.name
            )),
            _ => Ok(Some(Cell::Text(cell.to_owned()))),
        }
    }
}

fn parse_time(cell: &str) -> Result<WallTime, String> {
    parse_date_time(cell)
        .or_else(|| parse_count(cell))
        .ok_or_else(|| format!("{:?} is no time", shortened(cell)))
}

/// What of a hostile cell fits into a log line.
fn shortened(cell: &str) -> String {
    cell.chars().take(40).collect()
}

/// The cells of a line. A cell may be in double quotes, in which two stand for one (RFC 4180); line ends in quotes are
/// not taken.
fn split(line: &str, separator: char) -> Result<Vec<String>, String> {
    let mut cells = Vec::new();
    let mut cell = String::new();
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                cell.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if cell.trim().is_empty() => {
                cell.clear();
                quoted = true;
            }
            _ if character == separator && !quoted => cells.push(std::mem::take(&mut cell)),
            _ => cell.push(character),
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    cells.push(cell);
    Ok(cells)
}
