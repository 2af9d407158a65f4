//! The dashboard of `examples/grafana` and what `/metrics` really has.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Daemon, eventually, task, whole, worker};

const DASHBOARD: &str = include_str!("../../examples/grafana/orchestrator.json");

/// The queries of all panels.
fn queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

/// The names that a query has, and the labels by which it sums.
fn names(query: &str) -> (Vec<&str>, Vec<&str>) {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let metrics = words.filter(|word| word.starts_with("orchd_") || word.starts_with("pool_mgr_"));
    let by = query.split_once(" by (").unwrap().1;
    let labels = by.split_once(')').unwrap().0.split(", ");
    (metrics.collect(), labels.collect())
}

#[tokio::test]
async fn every_query_of_the_dashboard_finds_its_metric_and_labels() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &[]).await;
    let id = daemon.submit(json!({})).await;
    whole(&daemon.events(&id, None).await);
    let unknown = task(json!({"model": "nobodys"}));
    let refused = daemon.send(Method::POST, "/v2/tasks", Some(&unknown)).await;
    assert_eq!(refused.status(), StatusCode::NOT_FOUND);
    eventually("its end is counted", async || {
        let text = daemon.send(Method::GET, "/metrics", None).await;
        text.text()
            .await
            .unwrap()
            .contains("orchd_tasks_ended_total{")
    })
    .await;
    let metrics = daemon.send(Method::GET, "/metrics", None).await;
    let metrics = metrics.text().await.unwrap();
    let mut found = BTreeSet::new();
    for query in queries() {
        let (names, labels) = names(&query);
        assert!(!names.is_empty(), "{query}");
        for name in names {
            let sample = |line: &&str| {
                let labelled = line.strip_prefix(name)?.strip_prefix('{')?;
                let (own, _) = labelled.split_once('}')?;
                let own: Vec<_> = own
                    .split(',')
                    .map(|label| label.split('=').next())
                    .collect();
                let has = |wanted: &str| own.contains(&Some(wanted));
                labels.iter().copied().all(has).then_some(())
            };
            let is_there = metrics.lines().any(|line| sample(&line).is_some());
            assert!(is_there, "{query}: no {name} in {metrics}");
            found.insert(name.to_owned());
        }
    }
    for needed in [
        "orchd_queue_depth",
        "orchd_tasks_ended_total",
        "orchd_first_token_latency_ms_bucket",
        "orchd_scheduling_latency_ms_bucket",
        "pool_mgr_workers",
        "orchd_tasks_dispatched_total",
    ] {
        assert!(found.contains(needed), "{needed}");
    }
}
