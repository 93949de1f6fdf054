import { apiJobs } from '../api/jobs.ts';
import { buildJobs } from '../build/jobs.ts';
import { buildkitJobs } from '../buildkit/jobs.ts';
import { gcJobs } from '../gc/jobs.ts';
import { snapshotJobs } from '../snapshot/jobs.ts';
import { serveJobs } from '../store/jobs/serve.ts';
import { storeJobs } from '../store/jobs.ts';
import { transportJobs } from '../transport/jobs.ts';

/** Entry of the job threads: every room's jobs, by name. */
serveJobs({ ...storeJobs, ...snapshotJobs, ...transportJobs, ...buildJobs, ...buildkitJobs, ...apiJobs, ...gcJobs });
