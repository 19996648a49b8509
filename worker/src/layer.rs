//! A `tower` layer that makes `error` and `delay` faults reach the requests of a service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::Either;
use http::{Response, StatusCode};
use tower::{Layer, Service};

use crate::{Injected, Points};

/// What a service answers when a fault makes a request fail. Any `Fn(Injected) -> Result<T, E>` is one.
pub trait Answer<T, E> {
    /// The answer: a response, or the service's own error.
    ///
    /// # Errors
    /// Whatever the service fails with.
    fn answer(&self, injected: Injected) -> Result<T, E>;
}

impl<F, T, E> Answer<T, E> for F
where
    F: Fn(Injected) -> Result<T, E>,
{
    fn answer(&self, injected: Injected) -> Result<T, E> {
        self(injected)
    }
}

/// HTTP 500 with the fault's message as its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct InternalServerError;

impl<B: From<String>, E> Answer<Response<B>, E> for InternalServerError {
    fn answer(&self, injected: Injected) -> Result<Response<B>, E> {
        let mut response = Response::new(B::from(injected.message));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        Ok(response)
    }
}

/// Guards every request of a service as one point.
#[derive(Clone, Debug)]
pub struct ChaosLayer<A = InternalServerError> {
    point: &'static str,
    points: Points,
    answer: A,
}

impl ChaosLayer {
    /// For HTTP services: a request that fails is answered with [`InternalServerError`]. The point's name
    /// is what `kittyctl unleash error --point` chooses by.
    pub fn new(point: &'static str) -> Self {
        Self::with(point, InternalServerError)
    }
}

impl<A> ChaosLayer<A> {
    /// For any service: `answer` says what a request that fails is answered with.
    pub fn with(point: &'static str, answer: A) -> Self {
        Self { point, points: Points::process(), answer }.guarding()
    }

    /// At another set of points than the process's.
    #[must_use]
    pub fn at(self, points: &Points) -> Self {
        Self { points: points.clone(), ..self }.guarding()
    }

    fn guarding(self) -> Self {
        self.points.mark_guarded();
        self
    }
}

impl<S, A: Clone> Layer<S> for ChaosLayer<A> {
    type Service = ChaosService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        ChaosService { inner, layer: self.clone() }
    }
}

/// What [`ChaosLayer`] makes of a service.
#[derive(Clone, Debug)]
pub struct ChaosService<S, A = InternalServerError> {
    inner: S,
    layer: ChaosLayer<A>,
}

/// The inner service's own future while nothing is in force.
pub type ChaosFuture<F, T, E> = Either<F, Pin<Box<dyn Future<Output = Result<T, E>> + Send>>>;

impl<S, A, Request> Service<Request> for ChaosService<S, A>
where
    S: Service<Request> + Clone + Send + 'static,
    S::Future: Send,
    A: Answer<S::Response, S::Error> + Clone + Send + Sync + 'static,
    Request: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ChaosFuture<S::Future, S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if self.layer.points.idle() {
            return Either::Left(self.inner.call(request));
        }
        // The service that was polled ready is the one that is called.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let layer = self.layer.clone();
        Either::Right(Box::pin(async move {
            match layer.points.inject_async(layer.point).await {
                Ok(()) => inner.call(request).await,
                Err(injected) => layer.answer.answer(injected),
            }
        }))
    }
}
