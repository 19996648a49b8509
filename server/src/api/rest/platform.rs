//! `GET /platform`, `GET /platform/health`, `POST /platform/refresh`

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::Response,
    routing::{get, post},
};
use chaos_kitty::{
    Problem,
    v1::{self, Target, chaos_server::Chaos},
};

use super::{
    Answer,
    bind::{Asks, Routes, Shape, call, path},
    compat, json,
    read::Caller,
};

pub(super) fn routes<C: Chaos>() -> Routes<C> {
    let nothing = Asks::Fields(&[]);
    let listed = call("GET", "/platform", "ListPlatforms").answers(Shape::List("Platform"));
    let health =
        call("GET", "/platform/health", "ListPlatforms").about("The worst health of each level, and of all.");
    let refreshed = "Nothing: agents tell of every change themselves.";
    Routes::new()
        .with(listed.asks(nothing), get(list::<C>))
        .with(health.asks(nothing).answers(Shape::WordMap), get(well::<C>))
        .with(path("POST", "/platform/refresh", refreshed, Shape::Nothing), post(refresh))
}

async fn list<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let platforms = platforms(&*chaos, &caller).await?;
    let schedule = chaos.get_schedule(caller.clone().request(v1::GetScheduleRequest {})?).await?.into_inner();
    let mut rosters: HashMap<String, Vec<Target>> = HashMap::new();
    for target in roster(&*chaos, &caller).await? {
        rosters.entry(target.platform_type.clone()).or_default().push(target);
    }
    let shown = platforms.iter().map(|platform| {
        let roster = rosters.get(&platform.platform_type).map_or(&[][..], Vec::as_slice);
        compat::platform(platform, &schedule, roster)
    });
    Ok(json(&shown.collect::<Result<Vec<_>, Problem>>()?)?)
}

async fn well<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    Ok(json(&compat::health(&platforms(&*chaos, &caller).await?))?)
}

async fn refresh() -> Response {
    Response::new(Body::empty())
}

async fn platforms<C: Chaos>(chaos: &C, caller: &Caller) -> Result<Vec<v1::Platform>, tonic::Status> {
    let request = caller.clone().request(v1::ListPlatformsRequest {})?;
    Ok(chaos.list_platforms(request).await?.into_inner().platforms)
}

/// All pages.
async fn roster<C: Chaos>(chaos: &C, caller: &Caller) -> Result<Vec<Target>, tonic::Status> {
    let mut request = v1::ListTargetsRequest::default();
    let mut found = Vec::new();
    loop {
        let page = chaos.list_targets(caller.clone().request(request.clone())?).await?.into_inner();
        found.extend(page.targets);
        if page.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.next_page_token;
    }
}
