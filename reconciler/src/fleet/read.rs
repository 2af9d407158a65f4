//! The parts of fleet.yaml, each read from its node.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::RangeInclusive;

use pool_core::SLOTS;
use pool_core::device::Device;
use pool_core::name::PoolName;
use pool_core::orchestrator::QUEUE;

use super::connect::Connect;
use super::field::{Field, Problems, Text};
use super::fields::Fields;
use super::links::{Declared, Links, Use};
use super::node::{Kind, Node, Value, kind};
use super::span::Spanned;
use super::suggest::quote;
use super::types::{
    Canary, Check, Defaults, Fleet, Model, Orchestrator, Pool, Worker, WorkerDefaults, WorkerModels,
};
use super::value::WorkerPattern;

const REPLICAS: RangeInclusive<u32> = 0..=256;
const TOKENS: RangeInclusive<u32> = 1..=u32::MAX;
const CANARY_TOKENS: RangeInclusive<u32> = 1..=256;

/// The fleet, where every part of it can be read.
pub(super) fn fleet(root: &Node, problems: &mut Problems) -> Option<Fleet> {
    let mut fields = Fields::open(root, "", root.span, "version: 1", problems)?;
    let version = fields.required("version", "1");
    if let Some(field) = version
        && let Value::Scalar { text, plain } = &field.node.value
        && kind(text, *plain) == Kind::Number
        && &**text != "1"
    {
        // Another version may mean something else by everything that follows.
        let message = format!("version {} of fleet.yaml is not known", quote(text));
        problems.add(field.node.span, message, "this rbee reads version 1");
        return None;
    }
    let version = version.and_then(|field| field.number(1..=1, problems));
    let name = fields
        .required("fleet", "home")
        .and_then(|field| field.text(problems));

    let mut links = Links::default();
    let uses = &mut links.uses;
    let orchestrator = fields
        .optional("orchestrator")
        .and_then(|field| orchestrator(field, uses, problems));
    let defaults = fields
        .optional("defaults")
        .and_then(|field| defaults(field, problems))
        .unwrap_or_default();
    let max_outage = fields
        .optional("max_outage")
        .and_then(|field| field.duration(problems));
    let mut machines = BTreeMap::new();
    let pools = section(
        fields.optional("pools"),
        &mut links.pools,
        problems,
        |item, problems| pool(item, &mut machines, &mut links.devices, problems),
    );
    let models = section(
        fields.optional("models"),
        &mut links.models,
        problems,
        model,
    );
    let workers = section(
        fields.optional("workers"),
        &mut links.workers,
        problems,
        |item, problems| worker(item, uses, problems),
    );
    let checks = section(
        fields.optional("checks"),
        &mut Declared::default(),
        problems,
        |item, problems| check(item, uses, problems),
    );
    links.suspect(&fields.close(problems));
    links.check(problems);

    Some(Fleet {
        version: version?,
        name: name?,
        orchestrator,
        max_outage,
        defaults,
        pools,
        models,
        workers,
        checks,
    })
}

/// One named entry of a section.
struct Item<'n, K> {
    name: &'n Spanned<K>,
    /// In messages, such as "pool `mac`".
    owner: &'n str,
    node: &'n Node,
}

impl<'n, K: Display> Item<'n, K> {
    fn fields(&self, example: &str, problems: &mut Problems) -> Option<Fields<'n>> {
        let example = format!("{}: {example}", self.name.value);
        Fields::open(self.node, self.owner, self.name.span, &example, problems)
    }
}

fn section<K: Text + Clone + Ord + Display, V>(
    field: Option<Field<'_>>,
    declared: &mut Declared<K>,
    problems: &mut Problems,
    mut read: impl FnMut(&Item<'_, K>, &mut Problems) -> Option<V>,
) -> BTreeMap<K, Spanned<V>> {
    let Some(field) = field else {
        return BTreeMap::new();
    };
    let before = problems.0.len();
    let named = field.names::<K>(problems);
    declared.is_read = named.is_some();
    declared.is_complete = named.is_some() && problems.0.len() == before;
    let mut values = BTreeMap::new();
    for (name, node) in named.unwrap_or_default() {
        let owner = format!("{} {}", field.singular(), quote(&name.to_string()));
        let item = Item {
            name: &name,
            owner: &owner,
            node,
        };
        let value = read(&item, problems);
        declared.names.insert(name.value.clone());
        if let Some(value) = value {
            values.insert(name.value, Spanned::new(value, name.span));
        }
    }
    values
}

fn orchestrator(
    field: Field<'_>,
    uses: &mut Vec<Use>,
    problems: &mut Problems,
) -> Option<Orchestrator> {
    let example = "orchestrator: { pool: mac, listen: 127.0.0.1:8080 }";
    let mut fields = Fields::open(
        field.node,
        "`orchestrator`",
        field.key_span,
        example,
        problems,
    )?;
    let pool = fields
        .required("pool", PoolName::EXAMPLE)
        .and_then(|field| field.text(problems));
    let listen = fields
        .optional("listen")
        .and_then(|field| field.text(problems));
    let store = fields
        .optional("store")
        .and_then(|field| field.text(problems));
    let scheduling = fields
        .optional("scheduling")
        .and_then(|field| field.text(problems));
    let queue = fields
        .optional("queue")
        .and_then(|field| field.number(QUEUE, problems));
    let when_full = fields
        .optional("when_full")
        .and_then(|field| field.text(problems));
    let supervise = fields
        .optional("supervise")
        .and_then(|field| field.text(problems));
    let tenants = fields
        .optional("tenants")
        .and_then(|field| field.text(problems));
    let policy = fields
        .optional("policy")
        .and_then(|field| field.text(problems));
    fields.close(problems);
    uses.extend(pool.clone().map(Use::Pool));
    Some(Orchestrator {
        pool: pool?,
        listen,
        store,
        scheduling,
        queue,
        when_full,
        supervise,
        tenants,
        policy,
    })
}

fn defaults(field: Field<'_>, problems: &mut Problems) -> Option<Defaults> {
    let example = "defaults: { worker: { slots: 4 } }";
    let mut fields = Fields::open(field.node, "`defaults`", field.key_span, example, problems)?;
    let worker = fields.optional("worker").and_then(|field| {
        let owner = "`defaults.worker`";
        let example = "worker: { slots: 4 }";
        let mut fields = Fields::open(field.node, owner, field.key_span, example, problems)?;
        let (slots, context) = limits(&mut fields, problems);
        fields.close(problems);
        Some(WorkerDefaults { slots, context })
    });
    fields.close(problems);
    Some(Defaults {
        worker: worker.unwrap_or_default(),
    })
}

fn limits(
    fields: &mut Fields<'_>,
    problems: &mut Problems,
) -> (Option<Spanned<u32>>, Option<Spanned<u32>>) {
    let mut number = |key, range| fields.optional(key)?.number(range, problems);
    (number("slots", SLOTS), number("context", TOKENS))
}

fn pool(
    item: &Item<'_, PoolName>,
    machines: &mut BTreeMap<Connect, Spanned<PoolName>>,
    devices_of: &mut BTreeMap<PoolName, BTreeSet<Device>>,
    problems: &mut Problems,
) -> Option<Pool> {
    let mut fields = item.fields("{ connect: local, devices: [cpu] }", problems)?;
    let connect = fields
        .required("connect", Connect::EXAMPLE)
        .and_then(|field| field.text::<Connect>(problems));
    let devices = fields
        .required("devices", "[cpu]")
        .and_then(|field| Some((field, field.items::<Device>(problems)?)))
        .map(|(field, items)| {
            if items.iter().all(Option::is_some) {
                let devices = items.iter().flatten().map(|device| device.value);
                devices_of.insert(item.name.value.clone(), devices.collect());
            }
            field.unique(items.into_iter().flatten(), problems)
        });
    let advertise = fields
        .optional("advertise")
        .and_then(|field| field.text(problems));
    let host_keys = fields
        .optional("host_keys")
        .and_then(|field| field.text(problems));
    let supervise = fields
        .optional("supervise")
        .and_then(|field| field.text(problems));
    fields.close(problems);

    if let Some(connect) = &connect {
        if let Some(other) = machines.get(&connect.machine()) {
            let message = format!(
                "{} is the same machine as pool `{}`",
                item.owner, other.value
            );
            let hint = format!(
                "one machine is one pool: put all its devices into the pool of line {}",
                other.span.line
            );
            problems.add(connect.span, message, hint);
        } else {
            machines.insert(connect.machine(), item.name.clone());
        }
    }
    Some(Pool {
        connect: connect?,
        devices: devices?,
        advertise,
        host_keys: host_keys.map(|keys| keys.value).unwrap_or_default(),
        supervise,
    })
}

fn model<K: Display>(item: &Item<'_, K>, problems: &mut Problems) -> Option<Model> {
    let example = "{ source: hf:Qwen/Qwen2.5-0.5B-Instruct }";
    let mut fields = item.fields(example, problems)?;
    let source = fields
        .required("source", "hf:Qwen/Qwen2.5-0.5B-Instruct")
        .and_then(|field| field.text(problems));
    let dtype = fields
        .optional("dtype")
        .and_then(|field| field.text(problems));
    let quantize = fields
        .optional("quantize")
        .and_then(|field| field.text(problems));
    let max_outage = fields
        .optional("max_outage")
        .and_then(|field| field.duration(problems));
    let canary = fields
        .optional("canary")
        .and_then(|field| canary(field, item.owner, problems));
    let protect = protect(&mut fields, problems);
    fields.close(problems);
    Some(Model {
        source: source?,
        dtype,
        quantize,
        max_outage,
        canary,
        protect,
    })
}

fn canary(field: Field<'_>, owner: &str, problems: &mut Problems) -> Option<Canary> {
    let owner = format!("`canary` of {owner}");
    let example = "canary: { prompt: What is the capital of France?, expect: Paris }";
    let mut fields = Fields::open(field.node, &owner, field.key_span, example, problems)?;
    let prompt = fields
        .required("prompt", "What is the capital of France?")
        .and_then(|field| field.text(problems));
    let expect = fields
        .optional("expect")
        .and_then(|field| field.text(problems));
    let max_tokens = fields
        .optional("max_tokens")
        .and_then(|field| field.number(CANARY_TOKENS, problems));
    fields.close(problems);
    Some(Canary {
        prompt: prompt?,
        expect,
        max_tokens,
    })
}

fn protect(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Spanned<bool>> {
    fields.optional("protect")?.boolean(problems)
}

fn worker<K: Display>(
    item: &Item<'_, K>,
    uses: &mut Vec<Use>,
    problems: &mut Problems,
) -> Option<Worker> {
    let mut fields = item.fields("{ model: qwen-0.5b, on: [mac/metal:0] }", problems)?;
    let models = worker_models(item, &mut fields, uses, problems);
    let on = fields
        .required("on", "[mac/metal:0]")
        .and_then(|field| field.list(problems));
    let replicas = fields
        .optional("replicas")
        .and_then(|field| field.number(REPLICAS, problems));
    let (slots, context) = limits(&mut fields, problems);
    let protect = protect(&mut fields, problems);
    let ephemeral = fields
        .optional("ephemeral")
        .and_then(|field| field.boolean(problems));
    fields.close(problems);

    if let (Some(protect), Some(ephemeral)) = (&protect, &ephemeral)
        && protect.value
        && ephemeral.value
    {
        let message = format!("{} is protected and ephemeral", item.owner);
        problems.add(ephemeral.span, message, "keep one of them");
    }
    uses.extend(on.clone().map(Use::Devices));
    Some(Worker {
        models: models?,
        on: on?,
        replicas,
        slots,
        context,
        protect,
        ephemeral,
    })
}

fn worker_models<K>(
    item: &Item<'_, K>,
    fields: &mut Fields<'_>,
    uses: &mut Vec<Use>,
    problems: &mut Problems,
) -> Option<WorkerModels> {
    let (one, several) = (fields.optional("model"), fields.optional("models"));
    if one.is_none() && several.is_none() {
        fields.missing(vec!["model", "models"], "qwen-0.5b");
    }
    if let (Some(_), Some(several)) = (one, several) {
        let message = format!("{} has both `model` and `models`", item.owner);
        problems.add(several.key_span, message, "keep one of them");
    }
    let one = one.and_then(|field| {
        if matches!(field.node.value, Value::List(_)) {
            let message = format!("{} is a list, not the name of a model", field.name());
            problems.add(
                field.key_span,
                message,
                "the key for several models is `models`",
            );
            return None;
        }
        field.text(problems)
    });
    let several = several.and_then(|field| field.list(problems));
    uses.extend(one.clone().map(Use::Model));
    uses.extend(several.iter().flatten().cloned().map(Use::Model));
    match (one, several) {
        (Some(one), _) => Some(WorkerModels::One(one)),
        (None, Some(several)) => Some(WorkerModels::Matrix(several)),
        (None, None) => None,
    }
}

fn check<K: Display>(
    item: &Item<'_, K>,
    uses: &mut Vec<Use>,
    problems: &mut Problems,
) -> Option<Check> {
    let mut fields = item.fields("{ prompt: What is 2+2?, expect: \"4\" }", problems)?;
    let workers = fields.optional("workers");
    let all = workers.is_none();
    let workers = workers.and_then(|field| field.one_or_list(problems));
    let prompt = fields
        .required("prompt", "What is the capital of France?")
        .and_then(|field| field.text(problems));
    let expect = fields
        .optional("expect")
        .and_then(|field| field.text(problems));
    let pattern = fields
        .optional("pattern")
        .and_then(|field| field.text(problems));
    let max_tokens = fields
        .optional("max_tokens")
        .and_then(|field| field.number(TOKENS, problems));
    fields.close(problems);

    uses.extend(workers.iter().flatten().cloned().map(Use::Worker));
    let every = || vec![Spanned::new(WorkerPattern::all(), item.name.span)];
    Some(Check {
        workers: if all { every() } else { workers? },
        prompt: prompt?,
        expect,
        pattern,
        max_tokens,
    })
}
