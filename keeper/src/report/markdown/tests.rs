//! Comments that nothing of a plan can break out of.

use std::collections::BTreeMap;

use proptest::prelude::*;
use pulldown_cmark::{Event, Options, Parser};
use reconciler::observed::Unknown;
use reconciler::plan::{ActionId, Blocked, Outage, UnknownPool};
use reconciler::reason::Reason;

use super::*;

fn plan(texts: &[String; 4], times: usize) -> Plan {
    let [blocked, cause, help, warning] = texts;
    let blocked = Blocked {
        pool: "mac".parse().unwrap(),
        what: blocked.clone(),
        why: cause.clone(),
    };
    let unknown = UnknownPool {
        pool: "box".parse().unwrap(),
        unknown: Unknown {
            unreachable: true,
            cause: cause.clone(),
            help: Some(help.clone()),
        },
    };
    let fetched = Action {
        id: ActionId(0),
        pool: "mac".parse().unwrap(),
        kind: ActionKind::Fetch {
            model: "tiny".parse().unwrap(),
            source: "hf:org/repo".parse().unwrap(),
            commit: None,
            files: Vec::new(),
        },
        reason: Reason::Failed {
            cause: cause.clone(),
        },
        needs: Vec::new(),
        after: Vec::new(),
        facts: Vec::new(),
    };
    let removed = Action {
        kind: ActionKind::Unregister {
            model: "old".parse().unwrap(),
            bytes: 1000,
        },
        reason: Reason::NotDeclared,
        ..fetched.clone()
    };
    Plan {
        version: Plan::VERSION,
        fleet: "home".parse().unwrap(),
        actions: vec![fetched, removed],
        blocked: vec![blocked; times],
        unknown: vec![unknown],
        warnings: vec![warning.clone(); times],
        outages: vec![Outage {
            model: "tiny".parse().unwrap(),
            workers: vec!["chat/mac/cpu/0".parse().unwrap()],
            ms: Some(2100),
            max_ms: Some(0),
        }],
        bills: BTreeMap::new(),
        left_out: None,
    }
}

fn shown(texts: &[String; 4], times: usize) -> String {
    crowded(texts, times, 0)
}

/// With as many workers that come.
fn crowded(texts: &[String; 4], times: usize, spawns: usize) -> String {
    let mut plan = plan(texts, times);
    let spec: pool_core::worker::WorkerSpec = serde_json::from_value(serde_json::json!({
        "address": "chat/mac/cpu/0", "fleet": "home", "model": "tiny", "device": "cpu", "slots": 4,
        "model_digest": "5443b471a4371fca32a7279388f2a5e4fd46f4d9ab5e9107ca3fc608d9836522",
    }))
    .unwrap();
    let spawned = Action {
        kind: ActionKind::Spawn {
            spec: Box::new(spec),
            replaces: None,
            canary: pool_core::worker::Canary::default(),
            protect: false,
            restore: None,
            fit: None,
        },
        ..plan.actions[0].clone()
    };
    plan.actions.extend(vec![spawned; spawns]);
    text(&plan, &Places::new(), Purpose::Apply, None)
}

/// What a reader of Markdown makes of it, whatever stands in the code spans.
fn skeleton(markdown: &str) -> Vec<String> {
    let events = Parser::new_ext(markdown, Options::all());
    let events = events.map(|event| match event {
        Event::Code(_) => "code".to_owned(),
        event => format!("{event:?}"),
    });
    events.collect()
}

fn nasty() -> impl Strategy<Value = String> {
    let attack = prop::sample::select(vec![
        "@everyone",
        "<script>alert(1)</script>",
        "<!--",
        "`",
        "``",
        "```\n",
        "|",
        "\n\n# heading\n",
        "\n- item",
        "[x](http://x)",
        "![x](y)",
        "**",
        "\\",
        "\\`",
        "&lt;",
        "#123",
        "$x$",
        "\u{202e}",
        "\u{1b}[31m",
        "\u{2028}",
        " ",
        "\r\n\r\n",
        "</details>",
        "é日",
    ]);
    prop::collection::vec(
        prop_oneof![attack.prop_map(str::to_owned), ".{0,12}"],
        0..12,
    )
    .prop_map(|parts| parts.concat())
}

proptest! {
    #[test]
    fn no_text_changes_what_the_comment_is(texts in prop::array::uniform4(nasty())) {
        let plain = ["a", "b", "c", "d"].map(str::to_owned);
        prop_assert_eq!(skeleton(&shown(&texts, 2)), skeleton(&shown(&plain, 2)));
    }

    #[test]
    fn it_is_never_longer_than_github_takes(
        texts in prop::array::uniform4(nasty()), times in 0..3000_usize, spawns in 0..3000_usize
    ) {
        prop_assert!(crowded(&texts, times, spawns).len() < 60_000);
    }

    #[test]
    fn each_has_its_share_and_the_first_what_is_left(room in 0..1000_usize, sizes in prop::collection::vec(0..500_usize, 0..7)) {
        let rooms = share(room, &sizes);
        let all: usize = sizes.iter().sum();
        prop_assert_eq!(rooms.iter().sum::<usize>(), room.min(all));
        for (n, (given, size)) in rooms.iter().zip(&sizes).enumerate() {
            prop_assert!(given <= size && *given >= *size.min(&(room / sizes.len())));
            let is_ahead = rooms[n + 1..].iter().all(|later| *later <= room / sizes.len());
            prop_assert!(given == size || is_ahead);
        }
    }
}

#[test]
fn what_takes_away_comes_first_and_a_cut_says_what_it_left_out() {
    let texts = ["x", "y", "z", "w"].map(|text| text.repeat(200));
    let text = shown(&texts, 100);
    assert!(text.len() < 60_000 && text.len() > 50_000, "{}", text.len());
    let head = "### rbee plan: fleet `home`: 1 to check, 1 to remove, 100 blocked, 1 pool not known\n\n\
                **Stops or takes away** (2)\n\n\
                - **outage that is too long**: `` tiny is down for about 2.1 s while chat/mac/cpu/0 is \
                replaced, and fleet.yaml allows `max_outage: 0s` ``\n- `-` model `old` on `mac`: ";
    assert!(text.starts_with(head), "{text:.600}");
    let order = ["Stops or takes away", "`old`", "**Blocked**", "**Not known"];
    let places: Vec<usize> = order.iter().map(|part| text.find(part).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("_Left out for want of room: "), "{last}");
    assert!(last.contains(" of “To mind”"), "{last}");
}

#[test]
fn no_section_is_crowded_out() {
    let texts = ["what", "cause", "help", "warning"].map(str::to_owned);
    for (times, spawns) in [(2000, 2), (2, 2000), (2000, 2000)] {
        let text = crowded(&texts, times, spawns);
        assert!(text.len() < 60_000 && text.len() > 55_000, "{}", text.len());
        for (title, count, first) in [
            ("Stops or takes away", 2, "- **outage that is too long**: "),
            ("Blocked", times, "- `mac`: `what`: `cause`\n- `mac`"),
            (
                "Not known, and not touched",
                1,
                "- `box`: `cause`; help: `help`",
            ),
            ("To mind", times, "- `warning`\n- `warning`\n"),
            ("Comes or changes", spawns + 1, "- `~` model `tiny`"),
        ] {
            let (_, section) = text.split_once(&format!("\n**{title}** (")).unwrap();
            let (counts, lines) = section.split_once(")\n\n").unwrap();
            let all = counts.rsplit(' ').next().unwrap();
            assert_eq!(all, count.to_string(), "{title}: {counts}");
            assert!(lines.starts_with(first), "{title}: {lines:.100}");
            // The number that is said to be shown is.
            let shown: usize = counts.split(' ').next().unwrap().parse().unwrap();
            let end = lines.find("\n\n").unwrap_or(lines.len());
            let items = lines[..end].lines().filter(|line| line.starts_with("- "));
            assert_eq!(items.count(), shown, "{title}");
        }
        let last = text.lines().last().unwrap();
        assert!(last.starts_with("_Left out for want of room: "), "{last}");
    }
}

#[test]
fn a_plan_with_nothing_to_do_is_one_line() {
    let plan = Plan {
        actions: Vec::new(),
        blocked: Vec::new(),
        unknown: Vec::new(),
        outages: Vec::new(),
        ..plan(&Default::default(), 0)
    };
    let text = text(&plan, &Places::new(), Purpose::Apply, None);
    assert_eq!(text, "### rbee plan: fleet `home`: no changes\n");
}
