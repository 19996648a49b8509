//! `GET /platform`, `GET /platform/health`, `POST /platform/refresh`

use std::sync::Arc;

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
use futures_util::{Stream, StreamExt, TryStreamExt, stream};

use super::{
    Answer,
    bind::{Asks, Routes, Shape, call, path},
    compat, json,
    list::{entries, separated, streamed, text},
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
    let schedule = chaos.get_schedule(caller.clone().request(v1::GetScheduleRequest {})?).await?.into_inner();
    let platforms = platforms(Arc::clone(&chaos), caller.clone()).enumerate();
    let pieces = platforms.map(move |(index, platform)| {
        let platform = platform?;
        let mut head = text(&compat::platform(&platform, &schedule)?)?;
        // The roster goes into the same object.
        head.pop();
        let comma = if index > 0 { ",\n" } else { "" };
        let head = stream::iter([Ok(format!("{comma}{head},\"roster\":["))]);
        let roster = roster(Arc::clone(&chaos), caller.clone(), platform.platform_type);
        let shown = roster.map(|target| text(&compat::container(&target?)?));
        Ok::<_, Problem>(head.chain(separated(shown)).chain(stream::iter([Ok("]}".to_owned())])))
    });
    streamed("[", pieces.try_flatten(), "]").await
}

async fn well<C: Chaos>(State(chaos): State<Arc<C>>, caller: Caller) -> Answer {
    let platforms: Vec<v1::Platform> = platforms(chaos, caller).try_collect().await?;
    Ok(json(&compat::health(&platforms))?)
}

async fn refresh() -> Response {
    Response::new(Body::empty())
}

fn platforms<C: Chaos>(chaos: Arc<C>, caller: Caller) -> impl Stream<Item = Result<v1::Platform, Problem>> {
    entries(move |page_token| {
        let (chaos, caller) = (Arc::clone(&chaos), caller.clone());
        async move {
            let request = v1::ListPlatformsRequest { page_token, ..Default::default() };
            let page = chaos.list_platforms(caller.request(request)?).await?.into_inner();
            Ok((page.platforms, page.next_page_token))
        }
    })
}

fn roster<C: Chaos>(
    chaos: Arc<C>,
    caller: Caller,
    platform_type: String,
) -> impl Stream<Item = Result<Target, Problem>> {
    entries(move |page_token| {
        let (chaos, caller) = (Arc::clone(&chaos), caller.clone());
        let request =
            v1::ListTargetsRequest { platform_type: platform_type.clone(), page_token, ..Default::default() };
        async move {
            let page = chaos.list_targets(caller.request(request)?).await?.into_inner();
            Ok((page.targets, page.next_page_token))
        }
    })
}
