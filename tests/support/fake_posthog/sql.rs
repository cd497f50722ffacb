//! As much of HogQL as is asked of table `logs`, over rows in memory.
//!
//! `select <expressions> from logs where <condition> [group by …] [order by …] [limit n]`, the operators and functions in
//! [`call`], `count()`, `countIf`, `min`, `max`. Whatever else is asked is an error that says so, as PostHog's are. Missing
//! bounds of `timestamp` are an error too, although PostHog would only be slow. `cityHash64` is another hash, as uniform.
//!
//! The rows lie in a list and not in ClickHouse: chdb is a Python package, and its Rust binding needs a library of 500 MB.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::read::iso;
use super::rows::Row;

/// What an expression comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    /// Microseconds.
    Time(u64),
    /// Seconds.
    Interval(u64),
    Map(Vec<(String, String)>),
    List(Vec<Value>),
}

impl Value {
    fn json(&self) -> Json {
        match self {
            Value::Null => Json::Null,
            Value::Bool(flag) => Json::from(u8::from(*flag)),
            Value::Int(number) => Json::from(*number),
            Value::Text(text) => Json::from(text.as_str()),
            Value::Time(micros) => Json::from(iso(*micros)),
            Value::Interval(seconds) => Json::from(*seconds),
            Value::Map(map) => map.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect(),
            Value::List(list) => list.iter().map(Value::json).collect(),
        }
    }
    fn is_true(&self) -> bool {
        matches!(self, Value::Bool(true)) || matches!(self, Value::Int(number) if *number != 0)
    }
    fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Some(a.cmp(b)),
            (Value::List(a), Value::List(b)) => a
                .iter()
                .zip(b)
                .map(|(a, b)| a.order(b))
                .find(|order| *order != Some(Ordering::Equal))
                .unwrap_or(Some(Ordering::Equal)),
            _ => None,
        }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    Const(Value),
    Column(String),
    Index(Box<Expr>, String),
    Call(String, Vec<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Not(Box<Expr>),
    List(Vec<Expr>),
}

/// A query.
#[derive(Debug)]
pub struct Select {
    pub columns: Vec<(Expr, String)>,
    pub filter: Expr,
    pub group: Vec<Expr>,
    pub order: Vec<(Expr, bool)>,
    pub limit: usize,
}

/// A result.
pub struct Found {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Json>>,
}

const COLUMNS: [&str; 14] = [
    "uuid",
    "timestamp",
    "observed_timestamp",
    "body",
    "severity_text",
    "severity_number",
    "level",
    "trace_id",
    "span_id",
    "attributes",
    "resource_attributes",
    "instrumentation_scope",
    "event_name",
    "service_name",
];

/// Reads a query.
pub fn parse(text: &str) -> Result<Select, String> {
    let select = super::parse::read(text)?;
    let aliases: Vec<&String> = select.columns.iter().map(|(_, name)| name).collect();
    for (expression, _) in &select.columns {
        known(expression, &[])?;
    }
    known(&select.filter, &[])?;
    for expression in select.group.iter().chain(select.order.iter().map(|(by, _)| by)) {
        known(expression, &aliases)?;
    }
    let (from, to) = bounds(&select.filter);
    if from == 0 || to == u64::MAX {
        return Err("this model wants timestamp bounded on both sides".into());
    }
    Ok(select)
}

fn known(expression: &Expr, aliases: &[&String]) -> Result<(), String> {
    let all = |list: &[Expr]| list.iter().try_for_each(|part| known(part, aliases));
    match expression {
        Expr::Column(name) if COLUMNS.contains(&name.as_str()) || aliases.contains(&name) => Ok(()),
        Expr::Column(name) => Err(format!("Unable to resolve field: {name}")),
        Expr::Const(_) => Ok(()),
        Expr::Index(map, _) => known(map, aliases),
        Expr::Not(inner) => known(inner, aliases),
        Expr::Call(_, list) | Expr::List(list) => all(list),
        Expr::Binary(_, a, b) => known(a, aliases).and_then(|()| known(b, aliases)),
    }
}

/// What the conditions that must all hold say of `timestamp`: from, and until (exclusive), in microseconds.
fn bounds(filter: &Expr) -> (u64, u64) {
    match filter {
        Expr::Binary("and", a, b) => {
            let (a, b) = (bounds(a), bounds(b));
            (a.0.max(b.0), a.1.min(b.1))
        }
        Expr::Binary(sign @ (">=" | ">" | "<" | "<="), column, time)
            if **column == Expr::Column("timestamp".into()) =>
        {
            match (*sign, constant(time)) {
                (">=" | ">", Some(Value::Time(micros))) => (micros.max(1), u64::MAX),
                ("<", Some(Value::Time(micros))) => (0, micros),
                ("<=", Some(Value::Time(micros))) => (0, micros + 1),
                _ => (0, u64::MAX),
            }
        }
        _ => (0, u64::MAX),
    }
}

fn constant(expression: &Expr) -> Option<Value> {
    let row = Row::default();
    match expression {
        Expr::Const(_) | Expr::Call(..) => eval(expression, &row).ok(),
        _ => None,
    }
}

/// Constants computed once.
fn fold(expression: Expr) -> Expr {
    match expression {
        Expr::Binary(sign, a, b) => Expr::Binary(sign, fold(*a).into(), fold(*b).into()),
        Expr::Not(inner) => Expr::Not(fold(*inner).into()),
        Expr::List(list) => Expr::List(list.into_iter().map(fold).collect()),
        Expr::Call(name, list) => {
            let list: Vec<Expr> = list.into_iter().map(fold).collect();
            let is_constant = !list.is_empty() && list.iter().all(|part| matches!(part, Expr::Const(_)));
            let call = Expr::Call(name, list);
            match is_constant.then(|| eval(&call, &Row::default())) {
                Some(Ok(value)) => Expr::Const(value),
                _ => call,
            }
        }
        other => other,
    }
}

impl Select {
    /// Whether it counts and shows no rows.
    pub fn is_count(&self) -> bool {
        self.columns.iter().any(|(expression, _)| is_aggregate(expression))
    }

    /// How much time it asks for.
    pub fn seconds(&self) -> u64 {
        let (from, to) = bounds(&self.filter);
        to.saturating_sub(from) / 1_000_000
    }

    /// Runs over `rows`, which are in the order of (timestamp, uuid).
    pub fn run(mut self, rows: &[&Row]) -> Result<Found, String> {
        self.filter = fold(self.filter);
        self.columns = self.columns.into_iter().map(|(expression, name)| (fold(expression), name)).collect();
        let (from, to) = bounds(&self.filter);
        let start = rows.partition_point(|row| row.micros() < from);
        let end = rows.partition_point(|row| row.micros() < to);
        let rows = &rows[start..end.max(start)];
        let columns = self.columns.iter().map(|(_, name)| name.clone()).collect();
        let found = if !self.group.is_empty() || self.is_count() { self.grouped(rows)? } else { self.plain(rows)? };
        Ok(Found { columns, rows: found })
    }

    fn plain(&self, rows: &[&Row]) -> Result<Vec<Vec<Json>>, String> {
        let by = |name: &str| Expr::Column(name.into());
        let down = match &self.order[..] {
            [] => false,
            [(a, down)] if *a == by("timestamp") => *down,
            [(a, x), (b, y)] if *a == by("timestamp") && *b == by("uuid") && x == y => *x,
            _ => return self.sorted(rows),
        };
        let mut out = Vec::new();
        let mut take = |row: &Row| -> Result<bool, String> {
            if eval(&self.filter, row)?.is_true() {
                let values = self.columns.iter().map(|(expression, _)| Ok(eval(expression, row)?.json()));
                out.push(values.collect::<Result<Vec<Json>, String>>()?);
            }
            Ok(out.len() < self.limit)
        };
        if down {
            for row in rows.iter().rev() {
                if !take(row)? {
                    break;
                }
            }
        } else {
            for row in rows {
                if !take(row)? {
                    break;
                }
            }
        }
        Ok(out)
    }

    /// Rows in another order than they lie in.
    fn sorted(&self, rows: &[&Row]) -> Result<Vec<Vec<Json>>, String> {
        let keys: Vec<(Expr, bool)> = self.order.iter().map(|(by, down)| (self.resolve(by), *down)).collect();
        let mut found = Vec::new();
        for row in rows {
            if eval(&self.filter, row)?.is_true() {
                let place: Result<Vec<Value>, String> = keys.iter().map(|(by, _)| eval(by, row)).collect();
                found.push((place?, *row));
            }
        }
        found.sort_by(|(a, _), (b, _)| {
            let mut orders = keys.iter().zip(a.iter().zip(b)).map(|((_, down), (a, b))| {
                let order = a.order(b).unwrap_or(Ordering::Equal);
                if *down { order.reverse() } else { order }
            });
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        });
        let values = |row: &Row| self.columns.iter().map(|(column, _)| Ok(eval(column, row)?.json())).collect();
        found.into_iter().take(self.limit).map(|(_, row)| values(row)).collect()
    }

    /// What a name of a column stands for.
    fn resolve(&self, expression: &Expr) -> Expr {
        let Expr::Column(name) = expression else { return expression.clone() };
        let named = self.columns.iter().find(|(_, alias)| alias == name);
        named.map_or_else(|| expression.clone(), |(found, _)| found.clone())
    }

    fn grouped(&self, rows: &[&Row]) -> Result<Vec<Vec<Json>>, String> {
        // A group is named by the expression or by the name of a column.
        let keys: Vec<Expr> = self.group.iter().map(|expression| self.resolve(expression)).collect();
        let mut groups: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        if keys.is_empty() {
            // What a row without keys is grouped under.
            groups.insert(format!("{:?}", Vec::<Value>::new()), vec![Value::Null; self.columns.len()]);
        }
        for row in rows {
            if !eval(&self.filter, row)?.is_true() {
                continue;
            }
            let key: Result<Vec<Value>, String> = keys.iter().map(|key| eval(key, row)).collect();
            let group = groups.entry(format!("{:?}", key?)).or_insert_with(|| vec![Value::Null; self.columns.len()]);
            for ((expression, _), value) in self.columns.iter().zip(group) {
                aggregate(expression, row, value)?;
            }
        }
        let mut found: Vec<Vec<Value>> = groups.into_values().collect();
        for group in &mut found {
            for ((expression, _), value) in self.columns.iter().zip(group) {
                if *value == Value::Null && matches!(expression, Expr::Call(name, _) if name.starts_with("count")) {
                    *value = Value::Int(0);
                }
            }
        }
        let place = |by: &Expr| {
            self.columns.iter().position(|(expression, name)| *by == Expr::Column(name.clone()) || by == expression)
        };
        for (by, down) in self.order.iter().rev() {
            let at = place(by).ok_or("order by something that is not selected")?;
            found.sort_by(|a, b| {
                let order = a[at].order(&b[at]).unwrap_or(Ordering::Equal);
                if *down { order.reverse() } else { order }
            });
        }
        found.truncate(self.limit);
        Ok(found.into_iter().map(|group| group.iter().map(Value::json).collect()).collect())
    }
}

fn is_aggregate(expression: &Expr) -> bool {
    matches!(expression, Expr::Call(name, _) if matches!(name.as_str(), "count" | "countIf" | "min" | "max"))
}

fn aggregate(expression: &Expr, row: &Row, value: &mut Value) -> Result<(), String> {
    let Expr::Call(name, arguments) = expression else {
        *value = eval(expression, row)?;
        return Ok(());
    };
    let so_far = if let Value::Int(so_far) = value { *so_far } else { 0 };
    match (name.as_str(), &arguments[..]) {
        ("count", _) => *value = Value::Int(so_far + 1),
        ("countIf", [condition]) => *value = Value::Int(so_far + i64::from(eval(condition, row)?.is_true())),
        ("min" | "max", [of]) => {
            let new = eval(of, row)?;
            let wanted = if name == "min" { Ordering::Less } else { Ordering::Greater };
            if *value == Value::Null || new.order(value) == Some(wanted) {
                *value = new;
            }
        }
        _ => *value = eval(expression, row)?,
    }
    Ok(())
}

fn eval(expression: &Expr, row: &Row) -> Result<Value, String> {
    Ok(match expression {
        Expr::Const(value) => value.clone(),
        Expr::Column(name) => column(name, row)?,
        Expr::Index(map, key) => match eval(map, row)? {
            Value::Map(map) => {
                Value::Text(map.into_iter().find(|(name, _)| name == key).map(|(_, value)| value).unwrap_or_default())
            }
            other => return Err(format!("{other:?} has no keys")),
        },
        Expr::Not(inner) => Value::Bool(!eval(inner, row)?.is_true()),
        Expr::List(list) => Value::List(list.iter().map(|part| eval(part, row)).collect::<Result<_, _>>()?),
        Expr::Binary("and", a, b) => Value::Bool(eval(a, row)?.is_true() && eval(b, row)?.is_true()),
        Expr::Binary("or", a, b) => Value::Bool(eval(a, row)?.is_true() || eval(b, row)?.is_true()),
        Expr::Binary(sign, a, b) => compare(sign, &eval(a, row)?, &eval(b, row)?)?,
        Expr::Call(name, arguments) => {
            let values: Result<Vec<Value>, String> = arguments.iter().map(|argument| eval(argument, row)).collect();
            call(name, &values?)?
        }
    })
}

fn compare(sign: &str, a: &Value, b: &Value) -> Result<Value, String> {
    if let ("%", Value::Int(a), Value::Int(b)) = (sign, a, b) {
        return Ok(Value::Int(a.rem_euclid(*b)));
    }
    if sign == "in" {
        let list = if let Value::List(list) = b { list.clone() } else { vec![b.clone()] };
        return Ok(Value::Bool(list.iter().any(|value| a.order(value) == Some(Ordering::Equal))));
    }
    if let ("like" | "ilike", Value::Text(text), Value::Text(pattern)) = (sign, a, b) {
        let fold = |text: &str| if sign == "ilike" { text.to_lowercase() } else { text.to_owned() };
        let (text, pattern) = (fold(text), fold(pattern));
        let part = pattern.strip_prefix('%').and_then(|rest| rest.strip_suffix('%'));
        let part = part.ok_or("this model knows patterns of the form %text% only")?;
        return Ok(Value::Bool(text.contains(part)));
    }
    let order = a.order(b).ok_or_else(|| format!("cannot compare {a:?} with {b:?}"))?;
    Ok(Value::Bool(match sign {
        "=" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        other => return Err(format!("unknown operator {other}")),
    }))
}

fn column(name: &str, row: &Row) -> Result<Value, String> {
    let text = |text: &str| Value::Text(text.to_owned());
    let map = |map: &BTreeMap<String, String>| Value::Map(map.iter().map(|(k, v)| (k.clone(), v.clone())).collect());
    Ok(match name {
        "uuid" => Value::Text(row.uuid()),
        "timestamp" => Value::Time(row.micros()),
        "observed_timestamp" => Value::Time(row.observed_time_unix_nano / 1_000),
        "body" => text(&row.body),
        "severity_text" | "level" => text(&row.level),
        "severity_number" => Value::Int(row.severity_number.into()),
        // Stored in base64; see `tryBase64Decode`.
        "trace_id" => text(&row.trace_id),
        "span_id" => text(&row.span_id),
        "attributes" => map(&row.attributes),
        "resource_attributes" => map(&row.resource_attributes),
        "instrumentation_scope" => text(&row.instrumentation_scope),
        "event_name" => text(&row.event_name),
        "service_name" => text(&row.service_name),
        other => return Err(format!("Unable to resolve field: {other}")),
    })
}

fn call(name: &str, values: &[Value]) -> Result<Value, String> {
    let wrong = || format!("{name} with {values:?} is not modelled");
    Ok(match (name, values) {
        ("toDateTime" | "toDateTime64", [Value::Text(text), ..]) => {
            if !matches!(values.get(2), Some(Value::Text(zone)) if zone == "UTC") {
                return Err(format!("{name} without 'UTC' would mean the project's own time"));
            }
            let text = text.replace(' ', "T") + "Z";
            Value::Time(lipservice::data_plane::policy::parse_timestamp(&text).ok_or_else(wrong)? / 1_000)
        }
        ("toIntervalSecond", [Value::Int(n)]) => Value::Interval(*n as u64),
        ("toIntervalMinute", [Value::Int(n)]) => Value::Interval(*n as u64 * 60),
        ("toIntervalHour", [Value::Int(n)]) => Value::Interval(*n as u64 * 3_600),
        ("toStartOfInterval", [Value::Time(at), Value::Interval(step)]) => Value::Time(at - at % (step * 1_000_000)),
        ("toUnixTimestamp", [Value::Time(at)]) => Value::Int((at / 1_000_000) as i64),
        ("cityHash64", [Value::Text(text)]) => {
            Value::Int((twox_hash::XxHash64::oneshot(9, text.as_bytes()) >> 1) as i64)
        }
        ("modulo", [Value::Int(a), Value::Int(b)]) if *b > 0 => Value::Int(a.rem_euclid(*b)),
        // The rows hold ids in hex: both steps together are nothing.
        ("tryBase64Decode" | "hex", [Value::Text(text)]) => Value::Text(text.clone()),
        ("length", [Value::Text(text)]) => Value::Int(text.len() as i64),
        ("lower", [Value::Text(text)]) => Value::Text(text.to_lowercase()),
        ("upper", [Value::Text(text)]) => Value::Text(text.to_uppercase()),
        ("has", [Value::Map(map), Value::Text(key)]) => Value::Bool(map.iter().any(|(name, _)| name == key)),
        _ => return Err(wrong()),
    })
}
