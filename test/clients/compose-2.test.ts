import { composeSuite } from './compose-suite.ts';
import { compose2 } from './support.ts';

composeSuite(compose2, 2);
