//! What makes pods and has a number of replicas, through its scale in the API.

use std::{env, fmt, sync::Arc};

use chaos_kitty::{Code, Problem};
use chaos_kitty_guard::Undo;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    autoscaling::v1::Scale,
};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
};
use serde_json::json;

use super::{cluster::Cluster, restore};

/// How often it is tried to change what somebody else changes at the same moment.
const TRIES: usize = 20;

/// The kinds of which replicas can be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum Kind {
    /// Pods that are alike.
    Deployment,
    /// Pods with names of their own.
    StatefulSet,
    /// Pods that are alike, without a Deployment.
    ReplicaSet,
}

/// One Deployment, StatefulSet or ReplicaSet, by name.
#[derive(Clone, Debug)]
pub struct Workload {
    pub(super) cluster: Arc<Cluster>,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How many replicas it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Size {
    /// Of the workload: another of the same name is another one.
    pub uid: String,
    /// As many as it is to have.
    pub wanted: u32,
    /// As many as there are.
    pub present: u32,
    version: Option<String>,
}

/// What putting it back found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Restored {
    /// It had fewer.
    Raised,
    /// There was nothing to do.
    Whole,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}/{}", self.kind, self.namespace, self.name)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wanted, {} there", self.wanted, self.present)
    }
}

impl Workload {
    /// How large it is.
    pub async fn size(&self) -> Result<Size, Problem> {
        let (api, what) = (self.api(), format!("reading the scale of {self}"));
        self.cluster.asked(&what, api.get_scale(&self.name)).await.map(Size::of)
    }

    /// Gives it fewer replicas, if it still is to have as many as it was seen to have. What else changes, its status
    /// does all the time, is no matter.
    ///
    /// # Errors
    /// [`Code::Recycled`]: somebody else scaled it, or it is another one.
    pub async fn shrink(&self, seen: &Size, replicas: u32) -> Result<(), Problem> {
        for _ in 0..TRIES {
            let now = self.size().await?;
            if (&now.uid, now.wanted) != (&seen.uid, seen.wanted) {
                break;
            }
            match self.set(&now, replicas).await {
                Err(problem) if problem.code == Code::Recycled => {}
                done => return done,
            }
        }
        let what = format!("{self} was changed by somebody else while it was to be scaled");
        Err(Problem::new(Code::Recycled, what).hint("look at the targets again, and choose anew"))
    }

    /// Gives it another number of replicas, if nothing about it has changed since it was looked at.
    async fn set(&self, seen: &Size, replicas: u32) -> Result<(), Problem> {
        let api = self.api();
        let patch = Patch::Merge(
            json!({"metadata": {"resourceVersion": seen.version}, "spec": {"replicas": replicas}}),
        );
        let parameters = PatchParams::default();
        let asked = api.patch_scale(&self.name, &parameters, &patch);
        self.cluster.asked(&format!("scaling {self} to {replicas}"), asked).await.map(drop)
    }

    /// Gives it at least as many replicas as that, unless it is gone. It is done over again as often as it may be:
    /// two that were taken from by two faults are as large as ever once both are undone, in whatever order.
    pub(super) async fn restore(&self, uid: &str, replicas: u32) -> Result<Restored, Problem> {
        let size = match self.size().await {
            Err(problem) if problem.code == Code::TargetGone => return Ok(Restored::Whole),
            size => size?,
        };
        if size.uid != uid || size.wanted >= replicas {
            return Ok(Restored::Whole);
        }
        self.set(&size, replicas).await.map(|()| Restored::Raised)
    }

    /// How it is given what it had.
    ///
    /// # Errors
    /// Where this program is can not be told.
    pub fn undo(&self, seen: &Size) -> Result<Undo, Problem> {
        let program = env::current_exe()
            .map_err(|error| Problem::internal(format!("finding the agent's own program: {error}")))?;
        let [flag, way] = self.cluster.way.arguments();
        let argv = [
            program.to_string_lossy().into_owned(),
            restore::SUBCOMMAND.to_owned(),
            flag,
            way,
            format!("{:?}", self.kind),
            self.namespace.clone(),
            self.name.clone(),
            seen.uid.clone(),
            seen.wanted.to_string(),
        ];
        Ok(Undo::Run { argv: argv.to_vec(), limit: restore::LIMIT })
    }

    fn api(&self) -> Api<DynamicObject> {
        let kind = match self.kind {
            Kind::Deployment => ApiResource::erase::<Deployment>(&()),
            Kind::StatefulSet => ApiResource::erase::<StatefulSet>(&()),
            Kind::ReplicaSet => ApiResource::erase::<ReplicaSet>(&()),
        };
        Api::namespaced_with(self.cluster.client.clone(), &self.namespace, &kind)
    }
}

impl Size {
    fn of(scale: Scale) -> Self {
        let number =
            |replicas: Option<i32>| replicas.and_then(|count| count.try_into().ok()).unwrap_or_default();
        Self {
            uid: scale.metadata.uid.unwrap_or_default(),
            wanted: number(scale.spec.and_then(|spec| spec.replicas)),
            present: number(scale.status.map(|status| status.replicas)),
            version: scale.metadata.resource_version,
        }
    }
}
