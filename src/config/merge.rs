//! Several files and `--set` into one tree.
//!
//! Promises: maps merge key by key, anything else is replaced as a whole; later wins.
//! Never: merges lists: a list that is given again is the whole list.

use std::sync::Arc;

use super::error::{Place, Problem};
use super::node::{Node, Value, parse};

/// Deepest path a `--set` may give.
const MAX_SET_DEPTH: usize = 32;

/// Puts `over` on top of `base`.
pub fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over) {
        (Value::Map(entries), Node { value: Value::Map(more), .. }) => {
            for (key, node) in more {
                match entries.iter_mut().find(|(name, _)| *name == key) {
                    Some((_, existing)) => merge(existing, node),
                    None => entries.push((key, node)),
                }
            }
        }
        (_, over) => *base = over,
    }
}

/// Reads one `--set`: `exporters.posthog.host=eu`, or `exporters::posthog::host=eu` where a name has a dot. The value is
/// YAML.
///
/// # Errors
/// What is wrong with it; the value is not shown, it may be a secret.
pub fn parse_set(argument: &str) -> Result<Node, Problem> {
    let file: Arc<str> = Arc::from("--set");
    let place = Place { file: file.clone(), line: 0 };
    let fault = |problem: String| Problem::new("", problem, "write --set a.b.c=value").at(Some(&place));
    let Some((path, value)) = argument.split_once('=') else {
        return Err(fault("no = in the argument".into()));
    };
    let separator = if path.contains("::") { "::" } else { "." };
    let keys: Vec<&str> = path.split(separator).map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) || keys.len() > MAX_SET_DEPTH {
        return Err(fault(format!("{path:?} is not a path")));
    }
    let mut node = parse(value, &file).map_err(|_| fault(format!("the value of {path} is not YAML")))?;
    clear_lines(&mut node);
    for key in keys.iter().rev() {
        node = Node::new(Value::Map(vec![((*key).to_owned(), node)]), place.clone());
    }
    Ok(node)
}

/// Line numbers inside an argument help nobody.
fn clear_lines(node: &mut Node) {
    node.place.line = 0;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(clear_lines),
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| clear_lines(node)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::node::Value;

    fn tree(text: &str) -> Node {
        parse(text, &Arc::from("t")).unwrap()
    }

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => "null".into(),
            Value::Bool(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Float(value) => value.to_string(),
            Value::String(value) => value.clone(),
            Value::List(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(",")),
            Value::Map(entries) => {
                let inside: Vec<String> = entries.iter().map(|(key, node)| format!("{key}:{}", show(node))).collect();
                format!("{{{}}}", inside.join(","))
            }
        }
    }

    #[test]
    fn maps_merge_and_the_rest_is_replaced() {
        for (base, over, merged) in [
            ("a: {b: 1, c: 2}", "a: {c: 3, d: 4}", "{a:{b:1,c:3,d:4}}"),
            ("a: [1, 2]", "a: [3]", "{a:[3]}"),
            ("a: {b: 1}", "a: 5", "{a:5}"),
            ("a: 5", "a: {b: 1}", "{a:{b:1}}"),
            ("a: {b: 1}", "{}", "{a:{b:1}}"),
        ] {
            let mut node = tree(base);
            merge(&mut node, tree(over));
            assert_eq!(show(&node), merged);
        }
    }

    #[test]
    fn sets() {
        for (argument, tree) in [
            ("a.b.c=1", "{a:{b:{c:1}}}"),
            ("a::b.c::d=x=y", "{a:{b.c:{d:x=y}}}"),
            ("a=", "{a:null}"),
            ("a.b=[x, y]", "{a:{b:[x,y]}}"),
            ("exporters.otlp_http/eu.endpoint=http://h:1", "{exporters:{otlp_http/eu:{endpoint:http://h:1}}}"),
        ] {
            assert_eq!(show(&parse_set(argument).unwrap_or_else(|error| panic!("{error}"))), tree);
        }
        for (argument, error) in [
            ("a.b", "--set: no = in the argument (write --set a.b.c=value)"),
            ("a..b=1", "--set: \"a..b\" is not a path (write --set a.b.c=value)"),
            ("=1", "--set: \"\" is not a path (write --set a.b.c=value)"),
            ("a=[SECRET", "--set: the value of a is not YAML (write --set a.b.c=value)"),
        ] {
            assert_eq!(parse_set(argument).err().unwrap().to_string(), error);
        }
    }
}
