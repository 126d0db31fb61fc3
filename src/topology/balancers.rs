//! Balancers and requesters of a topology.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use gopherworks_balancer::__private::{Again, BalancerCore, Cost, Parts, Settings, children};
use gopherworks_balancer::policy::{LoadPolicy, Spread};
use gopherworks_balancer::trace::RequestTracer;
use gopherworks_pipeline::__private::{
    Asking, BalancerTracer, PipelineContext, Requester, RequesterCore, RequesterParts, Served,
};
use gopherworks_pipeline::job::{Job, Service, WorkerSite};
use gopherworks_pipeline::load::{Load, Rate};
use gopherworks_supervision::__private::guarded;
use gopherworks_supervision::failure::Failure;
use gopherworks_supervision::pool::Pool;
use gopherworks_supervision::{Child, ChildThread, Guarded};

#[cfg(feature = "http")]
use super::TopologyLink;
use super::{StartError, account};
use crate::catalog::Site;
use crate::catalog::http::says_failed;
#[cfg(feature = "http")]
use crate::http::Listener;
use crate::plan::{BalancerPlan, Plan};
use crate::report::{BalancerReport, RequesterReport, WorkerReport};

/// The kinds of worker, made before anything runs, so that mistakes prevent the start.
pub(super) struct PreparedBalancers {
    services: Vec<Arc<Guarded<Box<dyn Service>>>>,
    loads: Vec<Load>,
    #[cfg(feature = "http")]
    listeners: Vec<Option<Listener>>,
}

impl PreparedBalancers {
    pub(super) fn new(
        plan: &Plan,
        simulated: bool,
        site: impl Fn(&str) -> Site,
    ) -> Result<Self, StartError> {
        let failed = |node: &str| {
            let node = node.to_owned();
            move |failure| StartError::Node { node, failure }
        };
        let mut services = Vec::new();
        for balancer in &plan.balancers {
            // Workers run in simulations and comparisons, where works and burns may be left out.
            let outside = match balancer.kind.as_str() {
                "command" => Some("start programs"),
                "http" => Some("ask over HTTP"),
                _ => None,
            };
            if let Some(what) = outside.filter(|_| simulated) {
                return Err(StartError::Outside(format!(
                    "the workers of `{}` {what}",
                    balancer.name
                )));
            }
            let made =
                (balancer.service.make(&site(&balancer.name))).map_err(failed(&balancer.name))?;
            services.push(Arc::new(Guarded::new(made)));
        }
        for requester in plan.requesters.iter().filter(|asks| asks.http.is_some()) {
            if simulated {
                return Err(StartError::Outside(format!(
                    "the requests of `{}` come over HTTP",
                    requester.name
                )));
            }
        }
        #[cfg(feature = "http")]
        let mut listeners = Vec::new();
        #[cfg(feature = "http")]
        for requester in &plan.requesters {
            let threads = plan.execution.cores;
            let listener = (requester.http.as_ref()).map(|http| {
                Listener::bind(http, threads).map_err(|error| {
                    let failure = Failure::io(format_args!("listening at {}", http.listen), &error);
                    failed(&requester.name)(failure)
                })
            });
            listeners.push(listener.transpose()?);
        }
        let mut loads = Vec::new();
        for requester in &plan.requesters {
            let (balancer, service) = (&plan.balancers[requester.to], &services[requester.to]);
            let load = per_second(requester.load, balancer, &****service);
            loads.push(load.map_err(failed(&requester.name))?);
        }
        Ok(Self {
            services,
            loads,
            #[cfg(feature = "http")]
            listeners,
        })
    }

    pub(super) fn build(
        self,
        plan: &Plan,
        context: &Arc<PipelineContext>,
        time_scale: f64,
        #[cfg(feature = "http")] link: &Arc<TopologyLink>,
    ) -> Balancers {
        let notified = context.clone();
        let changed: Arc<dyn Fn() + Send + Sync> = Arc::new(move || notified.change());
        let balancers: Vec<_> = (plan.balancers.iter().zip(self.services))
            .map(|(balancer, service)| core(balancer, service, context, time_scale, &changed))
            .collect();
        #[cfg(feature = "http")]
        let mut listeners = self.listeners.into_iter();
        let requesters = (plan.requesters.iter().zip(self.loads))
            .map(|(requester, load)| {
                let parts = RequesterParts {
                    name: requester.name.as_str().into(),
                    to: balancers[requester.to].clone(),
                    load,
                    order: requester.order,
                    priority: requester.priority,
                    keys: requester.keys,
                    time_scale,
                    failed: Some(account::requests(
                        &requester.name,
                        &balancers[requester.to].name,
                        (context.reasons.clone(), context.clock.clone()),
                    )),
                    ended: changed.clone(),
                };
                #[cfg(feature = "http")]
                if let Some(listener) = listeners.next().flatten() {
                    let (pool, link) = (Arc::clone(&context.pool), link.clone());
                    return Requesting {
                        to: requester.to,
                        address: listener.address().ok(),
                        core: RequesterCore::outside(parts, |asker| {
                            listener.listen(asker, pool, link)
                        }),
                    };
                }
                Requesting { to: requester.to, address: None, core: RequesterCore::new(parts) }
            })
            .collect();
        Balancers { balancers, requesters }
    }
}

/// Converts a utilisation, a share of the total rate of all places when busy, into a rate.
fn per_second(load: Load, balancer: &BalancerPlan, service: &dyn Service) -> Result<Load, Failure> {
    let Load::Open { rate: Rate::Utilisation(share), arrivals, requests } = load else {
        return Ok(load);
    };
    let mut most = 0.0;
    for worker in 0..balancer.workers as usize {
        let mean = guarded(|| service.mean(worker)).ok().flatten();
        let Some(mean) = mean.filter(|mean| !mean.is_zero()) else {
            return Err(Failure::permanent(format!(
                "workers of kind `{}` have no known service time, so a utilisation is undefined: \
                 give a rate in requests per second",
                balancer.kind
            )));
        };
        most += f64::from(balancer.concurrency) / mean.as_secs_f64();
    }
    Ok(Load::Open { rate: Rate::PerSecond(share * most), arrivals, requests })
}

fn core(
    plan: &BalancerPlan,
    service: Arc<Guarded<Box<dyn Service>>>,
    context: &Arc<PipelineContext>,
    time_scale: f64,
    changed: &Arc<dyn Fn() + Send + Sync>,
) -> Arc<BalancerCore<Served>> {
    let name: Arc<str> = plan.name.as_str().into();
    let site = WorkerSite {
        balancer: name.clone(),
        worker: 0,
        clock: context.clock.clone(),
        seed: context.seed,
        pool: Arc::clone(&context.pool),
        time_scale,
    };
    let again = plan.idempotent || plan.spread != Spread::One;
    let disturbed = context.clone();
    let (makes, costs, at) = (service.clone(), service, site.clone());
    BalancerCore::new(Parts {
        name,
        settings: Settings {
            policy: plan.policy,
            spread: plan.spread,
            queue: plan.queue,
            full: plan.full,
            workers: plan.workers as usize,
            places: plan.concurrency as usize,
            max_attempts: plan.max_attempts,
            resilience: plan.resilience,
        },
        make: Arc::new(move |worker| {
            let site = WorkerSite { worker, ..site.clone() };
            let serve = makes.worker(&site)?;
            let name = format!("{}/{}", site.balancer, worker + 1);
            Ok(Served::new(serve, makes.blocks()).in_context(disturbed.clone(), name.into()))
        }),
        again: again
            .then(|| -> Again<Served> { Arc::new(|job, copy| Job { copy, ..job.clone() }) }),
        // Only some policies use the cost of a request.
        cost: matches!(plan.policy, LoadPolicy::ShortFirst { .. } | LoadPolicy::Reserve { .. })
            .then(|| -> Cost<Served> { Arc::new(move |job: &Job| costs.cost(&at, job)) }),
        // A server that answers with its own failure counts as a failure of the worker.
        failed: Some(Arc::new(|answer| match answer {
            Ok(book) => book.as_ref().is_some_and(says_failed),
            Err(_) => true,
        })),
        clock: context.clock.clone(),
        seed: context.seed,
        pool: Arc::<Pool>::clone(&context.pool),
        tracer: context
            .tracer()
            .map(|tracer| -> Arc<dyn RequestTracer> { Arc::new(BalancerTracer(tracer.clone())) }),
        idle: Some(changed.clone()),
    })
}

struct Requesting {
    to: usize,
    /// Where its server listens.
    address: Option<SocketAddr>,
    core: Arc<RequesterCore>,
}

/// Balancers and requesters of a running topology.
pub(super) struct Balancers {
    balancers: Vec<Arc<BalancerCore<Served>>>,
    requesters: Vec<Requesting>,
}

impl Balancers {
    /// The balancers' actors, to be started before any actor that sends requests.
    pub(super) fn children(
        &self,
        place: impl Fn(usize) -> ChildThread,
        within: Duration,
    ) -> Vec<Child> {
        let children = (self.balancers.iter()).flat_map(|core| children(core, &place, within));
        children.collect()
    }

    /// The requesters' actors, to be started last.
    pub(super) fn requester_children(
        &self,
        place: impl Fn(usize) -> ChildThread,
        within: Duration,
    ) -> Vec<Child> {
        let children = self.requesters.iter().enumerate().map(|(at, asking)| {
            let core = asking.core.clone();
            let name = core.name().clone();
            Child::new(name, &asking.core.port, move |_| Ok(Requester::new(core.clone())))
                .place(place(at))
                .shutdown(within)
        });
        children.collect()
    }

    /// By balancer: whether it accepts requests and has a worker.
    pub(super) fn ready(&self) -> Vec<bool> {
        self.balancers.iter().map(|balancer| balancer.is_ready()).collect()
    }

    /// The balancers, for their metrics.
    #[cfg(feature = "actix-web")]
    pub(super) fn all(&self) -> &[Arc<BalancerCore<Served>>] {
        &self.balancers
    }

    /// Listening addresses by requester name.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        let listening = self.requesters.iter();
        listening.filter_map(|asking| Some((&**asking.core.name(), asking.address?)))
    }

    /// A balancer's handle for the crew or incinerator `from`.
    pub(super) fn asking(&self, to: usize, from: &str) -> Asking {
        Asking { balancer: self.balancers[to].clone(), from: from.into() }
    }

    pub(super) fn give_up(&self, node: &str, epoch: u64, guilty: bool) {
        for balancer in &self.balancers {
            balancer.give_up(node, epoch, guilty);
            balancer.offer_permits_anew();
        }
    }

    /// Stops requesters from sending further requests.
    pub(super) fn close(&self) {
        for asking in &self.requesters {
            asking.core.close();
        }
    }

    pub(super) fn are_done(&self) -> bool {
        self.requesters.iter().all(|asking| asking.core.is_done())
            && self.balancers.iter().all(|balancer| balancer.open() == 0)
    }

    /// Gives up all requests in flight.
    pub(super) fn give_up_all(&self) {
        for asking in &self.requesters {
            asking.core.give_up();
        }
        for balancer in &self.balancers {
            balancer.close();
        }
    }

    /// True if a requester does not end on its own.
    #[cfg(feature = "simulate")]
    pub(super) fn are_endless(&self) -> bool {
        (self.requesters.iter()).any(|asking| asking.core.total().is_none())
    }

    /// Number of requests that will be made, if known, and of those that are over.
    pub(super) fn expected(&self) -> (Option<u64>, u64) {
        let mut total = Some(0);
        let mut over = 0;
        for asking in &self.requesters {
            let heard = asking.core.figures();
            total = total.zip(asking.core.total()).map(|(sum, more)| sum + more);
            over += heard.asked - heard.in_flight;
        }
        (total.filter(|total| *total > 0), over)
    }

    pub(super) fn balancer_reports(
        &self,
        passed: f64,
        restarts: &dyn Fn(&str) -> u64,
    ) -> Vec<BalancerReport> {
        let rows = self.balancers.iter().map(|core| {
            let figures = core.figures();
            let settings = core.settings();
            let all = passed * (settings.workers * settings.places) as f64;
            let counts = figures.counts;
            let workers = core.workers().zip(&figures.loads.workers);
            BalancerReport {
                name: core.name.to_string(),
                policy: settings.policy.name(),
                asked: counts.asked,
                answered: counts.answered,
                failed: counts.failed + counts.errors,
                errors: counts.errors,
                cancelled: counts.cancelled,
                in_flight: figures.open as u64,
                copies: counts.copies,
                wasted: counts.wasted,
                retried: counts.retried,
                expired: counts.expired,
                shed: counts.shed,
                rejected: counts.rejected,
                ejected: counts.ejected,
                response: figures.response.into(),
                waited: figures.waited.into(),
                busy: if all > 0.0 { (figures.busy.as_secs_f64() / all).min(1.0) } else { 0.0 },
                pending_mean: figures.loads.mean,
                pending_variance: figures.loads.variance,
                workers: workers
                    .map(|((name, _), load)| WorkerReport {
                        name: name.to_string(),
                        pending_mean: load.mean,
                        pending_variance: load.variance,
                        restarts: restarts(name),
                    })
                    .collect(),
            }
        });
        rows.collect()
    }

    pub(super) fn requester_reports(&self, passed: f64) -> Vec<RequesterReport> {
        let rows = self.requesters.iter().map(|asking| {
            let heard = asking.core.figures();
            RequesterReport {
                name: asking.core.name().to_string(),
                to: self.balancers[asking.to].name.to_string(),
                load: asking.core.load().name(),
                asked: heard.asked,
                answered: heard.answered,
                failed: heard.failed,
                refused: heard.errors,
                rejected: heard.rejected,
                cancelled: heard.cancelled,
                in_flight: heard.in_flight,
                lost: heard.lost(),
                per_s: match passed > 0.0 {
                    true => heard.answered as f64 / passed,
                    false => 0.0,
                },
                response: heard.response.into(),
            }
        });
        rows.collect()
    }
}
