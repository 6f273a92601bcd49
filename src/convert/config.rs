//! The configuration of a converted image: that of the source, with other layers
//! and one more item of history.

use serde_json::{Map, Value, json};

use crate::chunk::Digest;

/// How the history says what it was that made the layers.
pub(super) const CREATED_BY: &str = "tidegate convert";

/// A layer as the configuration tells it.
pub(super) struct ConfigLayer {
    /// SHA-256 without compression.
    pub(super) diff_id: Digest,
    /// The layer of the source that it comes from, by position.
    pub(super) from: Option<usize>,
}

/// Rewrites a configuration: the layers are `layers`, the rest stays. What the
/// history tells of layers that are gone is marked as having none, and layers
/// that it does not know get an item each.
pub(super) fn rewrite(source: &Value, layers: &[ConfigLayer], comment: &str) -> Value {
    let mut config = match source {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    let ids = layers
        .iter()
        .map(|layer| format!("sha256:{}", layer.diff_id));
    let ids: Vec<String> = ids.collect();
    config.insert(
        "rootfs".into(),
        json!({ "type": "layers", "diff_ids": ids }),
    );
    let history = config.get("history").and_then(Value::as_array);
    let mut history = history.cloned().unwrap_or_default();
    let empty = |item: &Value| item.get("empty_layer") == Some(&Value::Bool(true));
    let mut number = 0;
    for item in history.iter_mut().filter(|item| !empty(item)) {
        let kept = layers.iter().any(|layer| layer.from == Some(number));
        if let (false, Value::Object(item)) = (kept, item) {
            item.insert("empty_layer".into(), Value::Bool(true));
        }
        number += 1;
    }
    let told = |from: Option<usize>| from.is_some_and(|from| from < number);
    // A time of its own would make another image of it each time.
    let created = config.get("created").cloned();
    for _ in layers.iter().filter(|layer| !told(layer.from)) {
        let mut item = Map::new();
        if let Some(created) = &created {
            item.insert("created".into(), created.clone());
        }
        item.insert("created_by".into(), CREATED_BY.into());
        item.insert("comment".into(), comment.into());
        history.push(Value::Object(item));
    }
    config.insert("history".into(), Value::Array(history));
    Value::Object(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(number: u8, from: Option<usize>) -> ConfigLayer {
        ConfigLayer {
            diff_id: Digest([number; 32]),
            from,
        }
    }

    #[test]
    fn everything_but_the_layers_stays() {
        let source = json!({
            "architecture": "arm64", "os": "linux", "created": "2020-01-01T00:00:00Z",
            "config": {"Env": ["A=b"], "Entrypoint": ["/x"]}, "x-site": [1],
            "rootfs": {"type": "layers", "diff_ids": ["sha256:1", "sha256:2", "sha256:3"]},
            "history": [
                {"created_by": "one"},
                {"created_by": "env", "empty_layer": true},
                {"created_by": "two"},
                {"created_by": "three"},
            ]
        });
        let layers = [layer(1, Some(0)), layer(3, Some(2)), layer(9, None)];
        let config = rewrite(&source, &layers, "why");
        for key in ["architecture", "os", "created", "config", "x-site"] {
            assert_eq!(config[key], source[key], "{key}");
        }
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 3);
        assert_eq!(
            config["rootfs"]["diff_ids"][2],
            format!("sha256:{}", "09".repeat(32))
        );
        let told = [
            json!({"created_by": "one"}),
            json!({"created_by": "env", "empty_layer": true}),
            json!({"created_by": "two", "empty_layer": true}),
            json!({"created_by": "three"}),
            json!({"created": "2020-01-01T00:00:00Z", "created_by": CREATED_BY, "comment": "why"}),
        ];
        assert_eq!(config["history"], json!(told));
    }

    #[test]
    fn there_are_as_many_items_as_layers() {
        let layers = [layer(1, Some(0)), layer(2, Some(1)), layer(3, None)];
        for source in [json!({}), json!({"history": null}), json!(7)] {
            let config = rewrite(&source, &layers, "why");
            assert_eq!(config["history"].as_array().unwrap().len(), 3);
        }
    }
}
